import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from featherweight.errors import UsageError
from featherweight.numerics.contributions import Contributions
from featherweight.numerics.lasso import lasso, select
from featherweight.numerics.least_squares import Moments


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(rows=200, columns=15, mixed=0.0, seed=0):
    """Columns that share `mixed` of a few sources."""
    z = drawn(rows, columns, seed=seed) + mixed * drawn(rows, 4, seed=seed + 1) @ drawn(4, columns, seed=seed + 2)
    y = z @ drawn(columns, seed=seed + 3) + drawn(rows, seed=seed + 4)
    return z, y, z.T @ z / rows, z.T @ y / rows


@pytest.mark.parametrize("mixed", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("share", [0.9, 0.3, 0.05, 0.001])
def test_it_is_scikit_learns_lasso(mixed, share):
    for seed in (0, 10, 20):
        z, y, gram, correlation = problem(mixed=mixed, seed=seed)
        penalty = share * float(correlation.abs().max())
        peer = Lasso(alpha=penalty, fit_intercept=False, tol=1e-12, max_iter=10**6).fit(z.numpy(), y.numpy())
        beta = lasso(gram, correlation, penalty)
        assert np.abs(beta.numpy() - peer.coef_).max() < 1e-6
        warm = lasso(gram, correlation, penalty, start=lasso(gram, correlation, penalty * 1.5))
        assert torch.allclose(warm, beta, atol=1e-9)


def test_without_penalty_it_is_least_squares():
    z, y, gram, correlation = problem(mixed=1.0)
    assert torch.allclose(lasso(gram, correlation, 0.0), torch.linalg.lstsq(z, y[:, None]).solution[:, 0])


def test_at_the_largest_correlation_nothing_is_left():
    _, _, gram, correlation = problem()
    most = float(correlation.abs().max())
    assert int(lasso(gram, correlation, most).count_nonzero()) == 0
    assert int(lasso(gram, correlation, most * 0.999).count_nonzero()) == 1


def test_conditions_of_optimality_hold_with_more_columns_than_rows():
    _, _, gram, correlation = problem(rows=20, columns=60, mixed=1.0)
    penalty = 0.1 * float(correlation.abs().max())
    beta = lasso(gram, correlation, penalty)
    slope = correlation - gram @ beta
    assert 0 < int(beta.count_nonzero()) <= 20
    assert float(slope.abs().max()) <= penalty * (1 + 1e-6)
    assert torch.allclose(slope[beta != 0], penalty * beta[beta != 0].sign(), rtol=1e-6)


@pytest.mark.parametrize("keep", range(1, 16))
def test_selections_have_the_size_that_was_asked_for(keep):
    _, _, gram, correlation = problem(mixed=1.0)
    chosen = select(gram, correlation, keep)
    assert chosen.kept.tolist() == sorted(set(chosen.kept.tolist()))
    assert len(chosen.kept) == keep
    count = int(chosen.weights.count_nonzero())
    assert keep <= count <= max(keep, int(1.1 * keep))
    assert torch.allclose(chosen.weights, lasso(gram, correlation, chosen.penalty), atol=1e-8)
    sizes = chosen.weights.abs()
    assert torch.equal(sizes[chosen.kept].sort().values, sizes.sort().values[-keep:])


def test_the_channels_that_made_the_output_are_found():
    """Catalogue, entry 1, check (i): also where each has several taps and there are several outputs."""
    for seed in range(5):
        x, weight = drawn(300, 16, 9, seed=seed), drawn(8, 16, 9, seed=seed + 100)
        true = sorted(torch.randperm(16, generator=torch.Generator().manual_seed(seed))[:5].tolist())
        y = torch.einsum("nct,oct->no", x[:, true], weight[:, true])
        told = Contributions.of(Moments.of(x, y), weight, 9)
        assert select(told.gram, told.correlation, 5).kept.tolist() == true


def test_of_copies_one_is_enough():
    z, y, _, _ = problem(columns=6)
    z = torch.cat([z, z[:, :3]], dim=1)
    chosen = select(z.T @ z / 200, z.T @ y / 200, 6)
    assert {place % 6 for place in chosen.kept.tolist()} == set(range(6))


def test_dead_channels_fill_up_last():
    z, y, _, _ = problem(columns=8)
    z[:, [1, 4, 6]] = 0.0
    gram, correlation = z.T @ z / 200, z.T @ y / 200
    assert select(gram, correlation, 5).kept.tolist() == [0, 2, 3, 5, 7]
    assert select(gram, correlation, 6).kept.tolist() == [0, 1, 2, 3, 5, 7]
    started = lasso(gram, correlation, 1e-3, start=torch.ones(8))
    assert started[[1, 4, 6]].tolist() == [0.0, 0.0, 0.0]
    nothing = torch.zeros(4, 4)
    assert select(nothing, torch.zeros(4), 2).kept.tolist() == [0, 1]


def test_sizes_that_cannot_be_are_refused():
    _, _, gram, correlation = problem()
    for keep in (0, 16):
        with pytest.raises(UsageError, match="1 to 15"):
            select(gram, correlation, keep)
    with pytest.raises(UsageError, match="square"):
        select(gram[:3], correlation, 2)
    with pytest.raises(UsageError, match="penalty >= 0"):
        lasso(gram, correlation, -1.0)
