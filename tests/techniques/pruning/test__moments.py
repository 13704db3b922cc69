import pytest
import torch

from featherweight.errors import DivergedError
from featherweight.techniques.pruning._moments import Sums


def data(groups=3, rows=400, columns=5, outputs=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, rows, columns, generator=generator) + 3.0
    truth = torch.randn(groups, outputs, columns, generator=generator)
    return x, x @ truth.mT + 1.5 + 0.1 * torch.randn(groups, rows, outputs, generator=generator)


def sums(x, y, parts=3):
    found = Sums.around(x[:, :20], y[:, :20])
    for a, b in zip(x.chunk(parts, 1), y.chunk(parts, 1), strict=True):
        found.update(a, b)
    return found


def lstsq(x, y, intercept):
    x, y = x.double(), y.double()
    x = torch.cat([x, torch.ones_like(x[:, :, :1])], 2) if intercept else x
    found = torch.linalg.lstsq(x, y).solution.mT
    return (found[..., :-1], found[..., -1]) if intercept else (found, torch.zeros(found.shape[:2]).double())


@pytest.mark.parametrize("intercept", [True, False])
def test_each_problem_is_solved_as_by_lstsq(intercept):
    x, y = data()
    centred = sums(x, y).centred(intercept=intercept)
    weight = centred.solve(torch.zeros(3, 2, 5, dtype=torch.float64), 1e-12)
    expected, offset = lstsq(x, y, intercept)
    torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(centred.offset(weight), offset, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
def test_the_error_is_that_of_the_rows(intercept):
    x, y = data()
    centred = sums(x, y).centred(intercept=intercept)
    weight = torch.randn(3, 2, 5, dtype=torch.float64)
    offset = torch.randn(3, 2, dtype=torch.float64) * intercept
    direct = (x.double() @ weight.mT + offset[:, None] - y.double()).square().sum(1)
    torch.testing.assert_close(centred.error(weight, offset), direct, rtol=1e-9, atol=1e-9)


def test_parts_add_up():
    x, y = data()
    whole = sums(x, y)
    first, second = whole.empty(), whole.empty()
    first.update(x[:, :100], y[:, :100])
    second.update(x[:, 100:], y[:, 100:])
    both = first + second
    assert both.count == whole.count == 400
    torch.testing.assert_close(both.centred(intercept=True).xx, whole.centred(intercept=True).xx)


def test_a_strong_ridge_leaves_the_old_weights_and_a_weak_one_does_not():
    x, y = data()
    centred, old = sums(x, y).centred(intercept=True), torch.randn(3, 2, 5, dtype=torch.float64)
    assert (centred.solve(old, 1e9) - old).abs().max() < 1e-6
    assert (centred.solve(old, 1e-9) - old).abs().max() > 0.1


def test_columns_that_are_not_live_get_zeros_and_the_others_their_optimum():
    x, y = data()
    live = torch.ones(3, 5, dtype=torch.bool)
    live[:, 1] = False
    weight = sums(x, y).centred(intercept=True).solve(torch.ones(3, 2, 5, dtype=torch.float64), 1e-12, live)
    assert not weight[:, :, 1].any()
    expected, _ = lstsq(x[:, :, [0, 2, 3, 4]], y, True)
    torch.testing.assert_close(weight[:, :, [0, 2, 3, 4]], expected, rtol=1e-6, atol=1e-8)


def test_columns_that_say_nothing_keep_their_weights_and_equal_ones_are_no_harm():
    x, y = data()
    x[:, :, 0] = 2.0  # a constant: the intercept has it already
    x[:, :, 2] = x[:, :, 1]
    centred, old = sums(x, y).centred(intercept=True), torch.ones(3, 2, 5, dtype=torch.float64)
    weight = centred.solve(old, 1e-6)
    torch.testing.assert_close(weight[:, :, 0], old[:, :, 0])
    expected, offset = lstsq(x[:, :, [1, 3, 4]], y, True)
    best = (x[:, :, [1, 3, 4]].double() @ expected.mT + offset[:, None] - y.double()).square().sum(1)
    torch.testing.assert_close(centred.error(weight, centred.offset(weight)), best, rtol=1e-4, atol=0)


def test_large_means_do_not_drown_what_varies():
    x, y = data()
    weight = sums(x.double() + 1e6, y).centred(intercept=True).solve(torch.zeros(3, 2, 5).double(), 1e-12)
    torch.testing.assert_close(weight, lstsq(x, y, True)[0], rtol=1e-5, atol=1e-6)


def test_rows_that_are_not_finite():
    x, y = data()
    x[0, 250, 0] = torch.inf
    with pytest.raises(DivergedError, match="not finite"):
        sums(x, y)
