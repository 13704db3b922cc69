from math import prod

import pytest
import torch

from featherweight.techniques.pruning.connection._allocation import Goal, Share, cubic, erk_densities, geometric

SHAPES = [(300, 784), (100, 300), (10, 100)]


def test_the_ramps():
    assert cubic(0.0)(1.0, 0.1) == 1.0
    assert cubic(1.0)(1.0, 0.1) == pytest.approx(0.1)
    assert cubic(0.5)(1.0, 0.2) == pytest.approx(0.2 + 0.8 * 0.125)
    assert geometric(0.5)(1.0, 0.04) == pytest.approx(0.2)
    assert geometric(1.0)(0.5, 0.04) == pytest.approx(0.04)


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9, 1.0])
def test_erk_meets_the_budget_and_favours_small_tensors(density):
    found = erk_densities(SHAPES, density)
    sizes = [prod(shape) for shape in SHAPES]
    assert sum(d * s for d, s in zip(found, sizes, strict=True)) == pytest.approx(density * sum(sizes))
    assert found[0] <= found[1] <= found[2] <= 1


def test_erk_by_hand():
    found = erk_densities([(2, 8), (4, 4)], 0.25)
    scale = 0.25 * 32 / (10 + 8)
    assert found == pytest.approx([scale * 10 / 16, scale * 8 / 16])


def shares(*survivors, sizes=None, start=None):
    sizes = sizes or [len(part) for part in survivors]
    start = start or [1.0] * len(survivors)
    return [Share(n, s, len(p), lambda p=p: p) for n, s, p in zip(sizes, start, survivors, strict=True)]


@pytest.mark.parametrize("score", ["global", "lamp"])
def test_by_score_the_count_is_met_over_all_tensors(score):
    tensors = shares(torch.randn(1000), torch.randn(300) * 5)
    goal = Goal(None, 0.1, score)
    assert sum(goal.counts(tensors, cubic(1.0))) == 130
    assert sum(goal.counts(tensors, cubic(0.5))) == round(1300 * (0.1 + 0.9 / 8))


def test_global_takes_the_largest_and_lamp_protects_the_small():
    tensors = shares(torch.linspace(1.0, 2.0, 1000), torch.linspace(0.001, 0.002, 100))
    assert Goal(None, 0.1, "global").counts(tensors, cubic(1.0)) == [110, 1]
    assert Goal(None, 0.1, "lamp").counts(tensors, cubic(1.0))[1] > 10


def test_no_tensor_dies_and_none_grows():
    tensors = shares(torch.ones(10), torch.ones(50), sizes=[10, 100], start=[1.0, 0.5])
    assert Goal((0.001, 0.9)).counts(tensors, cubic(1.0)) == [1, 50]
