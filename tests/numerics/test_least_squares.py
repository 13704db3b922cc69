import numpy as np
import pytest
import torch

from featherweight.errors import DivergedError, UsageError
from featherweight.numerics.least_squares import Moments, columns_of, residual, solve, solve_normal


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(rows=400, columns=12, outputs=5, noise=0.3, offset=2.0):
    x = drawn(rows, columns) @ drawn(columns, columns, seed=1) + offset
    y = x @ drawn(columns, outputs, seed=2) + drawn(rows, outputs, seed=3) * noise - 7 * offset
    return x, y


def reference(x, y, intercept):
    """numpy's own, on the data."""
    columns = np.hstack([x, np.ones((len(x), 1))]) if intercept else x.numpy()
    solution = np.linalg.lstsq(columns, y.numpy(), rcond=None)[0]
    errors = ((y.numpy() - columns @ solution) ** 2).sum(0)
    weight, bias = (solution[:-1], solution[-1]) if intercept else (solution, np.zeros(y.shape[1]))
    return weight.T, bias, errors


@pytest.mark.parametrize("intercept", [True, False])
def test_it_is_numpys_least_squares(intercept):
    x, y = problem()
    fit = solve(Moments.of(x, y), ridge=0.0, intercept=intercept)
    weight, bias, errors = reference(x, y, intercept)
    assert np.allclose(fit.weight, weight, atol=1e-8)
    assert np.allclose(fit.bias, bias, atol=1e-8)
    assert np.allclose(fit.error, errors, rtol=1e-8)
    assert fit.rank == 12


def test_some_columns_only():
    x, y = problem()
    kept = columns_of([3, 0], spread=3)
    assert kept.tolist() == [9, 10, 11, 0, 1, 2]
    fit = solve(Moments.of(x, y), kept, ridge=0.0)
    weight, _, errors = reference(x[:, kept], y, intercept=True)
    assert np.allclose(fit.weight, weight, atol=1e-8)
    assert np.allclose(fit.error, errors, rtol=1e-8)


def test_parts_add_up_to_the_whole():
    x, y = problem(rows=333)
    whole = Moments.of(x, y)
    streamed = Moments(12, 5)
    for first in range(0, 333, 50):
        streamed.update(x[first : first + 50].view(-1, 4, 3), y[first : first + 50])
    added = sum(
        (Moments.of(x[first : first + 100], y[first : first + 100]) for first in range(0, 333, 100)), Moments(12, 5)
    )
    for moments in (streamed, added, Moments(12, 5) + whole):
        assert moments.count == 333
        for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
            assert torch.allclose(getattr(moments, name), getattr(whole, name), rtol=1e-10, atol=1e-9), name


def test_means_far_from_zero_drown_nothing():
    """Plain sums of products lose everything here: 1e8 squared leaves no digit for a spread of 1."""
    x, y = problem(offset=0.0)
    moments = Moments(12, 5)
    for first in range(0, 400, 64):
        moments.update(x[first : first + 64] + 1e8, y[first : first + 64] - 1e8)
    assert np.allclose(solve(moments, ridge=0.0).weight, reference(x, y, True)[0], atol=1e-5)


@pytest.mark.parametrize("intercept", [True, False])
def test_errors_of_any_weights_without_data(intercept):
    x, y = problem()
    moments, kept = Moments.of(x, y), columns_of([1, 2], 3)
    weight, bias = drawn(5, 6, seed=8), drawn(5, seed=9) if intercept else None
    off = y - x[:, kept] @ weight.T - (bias if intercept else 0)
    assert torch.allclose(residual(moments, weight, bias, kept), off.square().sum(0), rtol=1e-9)
    centred = y - y.mean(0) if intercept else y
    assert moments.energy(intercept=intercept) == pytest.approx(float(centred.square().sum()))
    assert torch.allclose(moments.gram(intercept=False), x.T @ x)
    assert torch.allclose(moments.cross(intercept=False), x.T @ y)


def test_the_error_never_rises_with_columns_and_ends_at_zero():
    """Catalogue, entry 1, check (iii)."""
    x, _ = problem()
    moments = Moments.of(x, x @ drawn(12, 5, seed=2))
    errors = [float(solve(moments, columns_of(range(count), 3)).error.sum()) for count in range(5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(moments.energy(intercept=True))
    assert errors[4] < 1e-9 * errors[0]


@pytest.mark.parametrize("ridge", [0.0, 1e-8])
def test_a_copy_can_be_dropped_and_shares_where_it_is_kept(ridge):
    """Catalogue, entry 1, check (ii); with both copies kept the least norm gives each half."""
    x, y = problem()
    x[:, 5] = x[:, 4]
    x[:, 7] = 0.0
    moments = Moments.of(x, y)
    both = solve(moments, ridge=ridge)
    one = solve(moments, torch.tensor([place for place in range(12) if place not in (5, 7)]), ridge=ridge)
    assert torch.allclose(both.error, one.error, rtol=1e-5)
    assert torch.allclose(both.weight[:, 4], both.weight[:, 5], rtol=1e-4)
    assert both.weight[:, 7].abs().max() == 0.0
    assert both.rank == (10 if ridge == 0 else 12)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_of_a_dependent_column_by_rounding_is_not_divided_by(seed):
    """Its pivot is some 1e-16 of either sign: half of the time Cholesky sees nothing wrong."""
    x = drawn(300, 12, seed=seed)
    x[:, 11] = x[:, :11] @ drawn(11, seed=seed + 100)
    fit = solve(Moments.of(x, x @ drawn(12, 5, seed=1)), ridge=0.0)
    assert fit.rank == 11
    assert float(fit.weight.norm()) < 2 * float(drawn(12, 5, seed=1).norm() + drawn(12).norm() * 5)


def test_fewer_samples_than_columns_give_the_least_norm():
    x, y = problem(rows=6, offset=0.0)
    fit = solve(Moments.of(x, y), ridge=0.0, intercept=False)
    assert fit.rank == 6
    assert float(fit.error.sum()) < 1e-9 * float(y.square().sum())
    assert not bool(fit.weight.isnan().any())


def test_a_ridge_costs_what_it_says():
    x, y = problem(offset=0.0)
    gram = x.T @ x
    damped = gram + 0.1 * gram.diagonal().mean() * torch.eye(12, dtype=torch.float64)
    fit = solve(Moments.of(x, y), ridge=0.1, intercept=False)
    assert torch.allclose(fit.weight.T, torch.linalg.solve(damped, x.T @ y))


def test_scales_of_columns_do_not_look_like_dependence():
    x, y = problem(offset=0.0)
    scales = torch.logspace(-7, 7, 12, dtype=torch.float64)
    fit = solve(Moments.of(x * scales, y), ridge=0.0)
    assert fit.rank == 12
    assert np.allclose(fit.weight * scales, reference(x, y, True)[0], atol=1e-7)


def test_nothing_comes_of_nothing():
    solution, rank = solve_normal(torch.zeros(3, 3).double(), torch.zeros(3, 2).double())
    assert (float(solution.abs().sum()), rank) == (0.0, 0)
    moments = Moments(3, 2)
    moments.update(torch.zeros(0, 3), torch.zeros(0, 2))
    with pytest.raises(UsageError, match="needs samples"):
        solve(moments)


def test_what_cannot_be_added_is_refused():
    moments = Moments(3, 2)
    with pytest.raises(UsageError, match="3 columns and 2 outputs"):
        moments.update(torch.zeros(5, 4), torch.zeros(5, 2))
    with pytest.raises(UsageError, match="3 columns and 2 outputs"):
        moments.update(torch.zeros(5, 3), torch.zeros(4, 2))
    with pytest.raises(DivergedError, match="not finite"):
        moments.update(torch.full((5, 3), float("nan")), torch.zeros(5, 2))
    with pytest.raises(UsageError, match="same columns"):
        moments + Moments(3, 3)
    with pytest.raises(UsageError, match="ridge"):
        solve(Moments.of(torch.rand(5, 3), torch.rand(5, 2)), ridge=-1.0)
