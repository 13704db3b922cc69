import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.contributions import Contributions
from featherweight.numerics.least_squares import Moments


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(x, weight):
    """Z (N * outputs, c), as the paper has it: x (N, c, taps), weight (outputs, c, taps)."""
    return torch.einsum("nct,oct->noc", x, weight).flatten(0, 1)


@pytest.mark.parametrize("intercept", [False, True])
def test_it_is_the_gram_matrix_of_the_contributions(intercept):
    x, weight, y = drawn(50, 6, 4) + 1, drawn(3, 6, 4, seed=1), drawn(50, 3, seed=2) - 2
    told = Contributions.of(Moments.of(x, y), weight, 4, intercept=intercept)
    if intercept:
        x, y = x - x.mean(0), y - y.mean(0)
    z, target = built(x, weight), y.flatten()
    assert torch.allclose(told.gram, z.T @ z / len(z))
    assert torch.allclose(told.correlation, z.T @ target / len(z))
    assert told.energy == pytest.approx(float(target.square().mean()))
    beta = drawn(6, seed=5)
    assert told.error(beta) == pytest.approx(float((target - z @ beta).square().mean()))


def test_kernels_of_any_dimension_are_the_same_columns():
    x, y, weight = drawn(20, 4, 9), drawn(20, 3, seed=1), drawn(3, 4, 3, 3, seed=2)
    moments = Moments.of(x, y)
    flat, square = Contributions.of(moments, weight.flatten(1), 9), Contributions.of(moments, weight, 9)
    assert torch.equal(flat.gram, square.gram)


def test_all_channels_together_leave_no_error():
    x, weight = drawn(40, 5, 2), drawn(3, 5, 2, seed=1)
    moments = Moments.of(x, torch.einsum("nct,oct->no", x, weight))
    told = Contributions.of(moments, weight, 2)
    assert told.error(torch.ones(5)) < 1e-12 * told.energy


def test_sampled_parts_are_those_of_thinet():
    parts = drawn(30, 5)
    told = Contributions.sampled(parts)
    kept = torch.tensor([1.0, 0, 1, 1, 0])
    off = parts.sum(1) - parts @ kept.double()
    assert told.error(kept) == pytest.approx(float(off.square().mean()))


def test_shapes_that_do_not_fit_are_refused():
    moments = Moments.of(drawn(10, 6), drawn(10, 3))
    with pytest.raises(UsageError, match="weight must be"):
        Contributions.of(moments, drawn(3, 5), 1)
    with pytest.raises(UsageError, match="weight must be"):
        Contributions.of(moments, drawn(3, 6), 4)
    with pytest.raises(UsageError, match="samples"):
        Contributions.of(Moments(6, 3), drawn(3, 6), 2)
