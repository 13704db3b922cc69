import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics import _factor_response as inside
from featherweight.numerics.factor import by_response, nonlinear_response


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answers(samples=3000, width=12, seed=0):
    """Responses that lean to a few directions, with a mean."""
    return normal(samples, width, seed=seed) @ (normal(width, width, seed=seed + 1) / torch.arange(1, width + 1)) + 0.3


def behind_relu(found, responses, targets):
    return float((found(responses).relu() - targets.relu()).square().sum() / targets.relu().square().sum())


def test_responses_by_themselves_are_cut_to_their_principal_components():
    responses = answers()
    centred = responses - responses.mean(0)
    values = torch.linalg.svdvals(centred)
    for rank in (1, 4, 8):
        found = by_response(responses, rank)
        lost = float((found(responses) - responses).square().sum())
        assert lost == pytest.approx(float(values[rank:].square().sum()), rel=1e-6)


def test_full_rank_changes_nothing():
    responses = answers()
    assert torch.allclose(by_response(responses, 12)(responses), responses, atol=1e-6)
    assert torch.allclose(nonlinear_response(responses, 12, responses)(responses), responses, atol=1e-5)


def test_no_map_of_the_rank_nearby_is_better():
    responses = answers()
    targets = responses @ normal(12, 12, seed=7) + normal(3000, 12, seed=8)
    found = by_response(responses, 4, targets)
    least = float((found(responses) - targets).square().sum())
    for seed in range(30):
        left = found.left + 0.01 * normal(12, 4, seed=seed)
        right = found.right + 0.01 * normal(4, 12, seed=seed + 50)
        moved = responses @ right.T @ left.T
        bias = (targets - moved).mean(0)
        assert float((moved + bias - targets).square().sum()) > least


def test_it_is_the_generalised_svd_and_better_than_cutting_the_full_regression():
    responses = answers()
    targets = responses @ normal(12, 12, seed=7) + normal(3000, 12, seed=8)
    x, z = responses - responses.mean(0), targets - targets.mean(0)
    full = torch.linalg.lstsq(x, z).solution.T
    lower = torch.linalg.cholesky(x.T @ x)
    left, values, right = torch.linalg.svd(full @ lower)
    back = torch.linalg.solve_triangular(lower.T, right[:4].T, upper=True)  # V = L^-T Q
    assert torch.allclose(back.T @ (x.T @ x) @ back, torch.eye(4).double(), atol=1e-8)
    wanted = left[:, :4] * values[:4] @ back.T
    found = by_response(responses, 4, targets)
    assert torch.allclose(found.left @ found.right, wanted, rtol=1e-4, atol=1e-4)
    u, s, v = torch.linalg.svd(full)
    cut = u[:, :4] * s[:4] @ v[:4]
    assert float((x @ cut.T - z).square().sum()) > float((x @ wanted.T - z).square().sum())


def test_knowing_of_the_relu_is_better_behind_it():
    responses = answers()
    for rank in (3, 5, 7):
        linear = behind_relu(by_response(responses, rank), responses, responses)
        nonlinear = behind_relu(nonlinear_response(responses, rank, responses), responses, responses)
        assert nonlinear < 0.99 * linear


def test_z_is_the_minimum_of_each_element():
    goal, answer = normal(40, seed=1).relu(), normal(40, seed=2)
    for penalty in (0.01, 1.0, 5.0):
        found = inside._auxiliary(goal, answer, penalty)
        grid = torch.linspace(-6, 6, 12001).double()[:, None]
        costs = (grid.relu() - goal).square() + penalty * (grid - answer).square()
        mine = (found.relu() - goal).square() + penalty * (found - answer).square()
        assert bool((mine <= costs.min(0).values + 1e-9).all())


def test_within_one_penalty_the_objective_never_grows():
    responses = answers()
    goal, solver, penalty = responses.relu(), inside._Regression(responses, 4), 0.1
    answer = solver.fitted(responses)(responses)
    last = float("inf")
    for _ in range(15):
        z = inside._auxiliary(goal, answer, penalty)
        answer = solver.fitted(z)(responses)
        now = float((z.relu() - goal).square().sum() + penalty * (z - answer).square().sum())
        assert now <= last + 1e-9
        last = now


def test_responses_may_be_collinear_and_narrower_than_targets():
    narrow = answers(width=3)
    targets = (narrow @ normal(3, 10, seed=4)).float()
    repeated = torch.cat([narrow, narrow], dim=1).float()
    found = by_response(repeated, 3, targets)
    assert torch.allclose(found(repeated), targets, atol=1e-3)
    assert found.left.shape == (10, 3) and found.right.shape == (3, 6) and found.bias.dtype == torch.float32


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="rank"):
        by_response(answers(), 13)
    with pytest.raises(UsageError, match="samples"):
        by_response(answers(20), 2, answers(21))
    with pytest.raises(UsageError, match="schedule"):
        nonlinear_response(answers(20), 2, answers(20), schedule=((0.0, 3),))
