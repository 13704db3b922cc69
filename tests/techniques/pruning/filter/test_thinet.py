"""Checks and mistakes of Luo et al. 2017, as the catalogue of techniques lists them."""

from itertools import combinations

import pytest
import torch
from torch import nn

from featherweight.core.task import Task
from featherweight.techniques.pruning._readers import Parts
from featherweight.techniques.pruning.filter.thinet import Thinet
from featherweight.training.context import TaskContext


def parts(a):
    gram = a.double().T @ a.double()
    return Parts(gram, gram.sum(1))


def lost(a, kept):
    gone = [place for place in range(a.shape[1]) if place not in kept.tolist()]
    return float(a[:, gone].double().sum(1).square().sum())


def test_greedy_is_near_the_best_of_all_sets_and_is_it_where_channels_are_orthogonal():
    near = 0
    for seed in range(20):
        a = torch.randn(60, 8, generator=torch.Generator().manual_seed(seed)) * torch.rand(8)
        found = lost(a, Thinet().select(parts(a), 4))
        best = min(lost(a, torch.tensor(kept)) for kept in combinations(range(8), 4))
        near += found <= 1.5 * best
    assert near >= 15
    a = torch.linalg.qr(torch.randn(30, 8))[0] * torch.tensor([5.0, 1, 7, 3, 2, 8, 6, 4])
    assert Thinet().select(parts(a), 4).tolist() == [0, 2, 5, 6]


def test_channels_that_give_nothing_go_first_and_large_ones_last():
    a = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    a[:, [1, 4]] = 0.0
    assert Thinet().select(parts(a), 4).tolist() == [0, 2, 3, 5]
    a[:, 3] *= 100
    assert Thinet().select(parts(a), 1).tolist() == [3]


def test_two_channels_that_cancel_out_go_together():
    a = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    a[:, 2] *= 0.3
    a[:, 4] = -a[:, 2]
    a[:, 0] *= 0.35
    assert Thinet().select(parts(a), 3).tolist() == [0, 1, 3]


def test_scaling_never_leaves_more_error_than_not_scaling():
    for seed in range(10):
        a = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)).double()
        kept = Thinet().select(parts(a), 3)
        factors, y = Thinet().rescaled(parts(a), kept), a.sum(1)
        scaled, plain = (y - a[:, kept] @ factors).square().sum(), (y - a[:, kept].sum(1)).square().sum()
        assert scaled <= plain + 1e-9
    assert Thinet(refit="none").rescaled(parts(a), kept) is None


def lent(inputs):
    task = Task(model=nn.Identity(), example=inputs[:2], calibration=(inputs, torch.zeros(len(inputs))))
    return TaskContext(task)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten()).eval()


def inputs():
    return torch.randn(100, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def test_channels_count_by_what_the_next_layer_makes_of_them_not_by_what_they_are():
    """Channel 2 is by far the largest and hardly read; channel 0 is small and read by weights that make up for it."""
    model = network()
    with torch.no_grad():
        model[0].weight[2] *= 50
        model[2].weight[:, 2] *= 1e-4
    after = Thinet(ratio=1 / 6, refit="none", repair="none").apply(model, lent(inputs()))
    assert torch.equal(after[0].weight, model[0].weight[[0, 1, 3, 4, 5]])


def test_the_next_layer_is_scaled_one_factor_a_channel_and_the_layer_itself_is_not():
    model = network()
    after = Thinet(ratio=0.5, repair="none").apply(model, lent(inputs()))
    left = [
        place for place, row in enumerate(model[0].weight) if any(torch.equal(row, other) for other in after[0].weight)
    ]
    assert len(left) == 3 and torch.equal(after[0].bias, model[0].bias[left])
    ratios = (after[2].weight / model[2].weight[:, left]).detach()
    factors = ratios[0, :, 0, 0]
    torch.testing.assert_close(ratios, factors[None, :, None, None].expand_as(ratios), rtol=1e-4, atol=1e-5)
    assert (factors - 1).abs().max() > 0.01


@pytest.mark.parametrize("better", ["scales", "weights"])
def test_a_refit_of_more_weights_leaves_less_error(better):
    def error(refit):
        after = Thinet(ratio=0.5, refit=refit).apply(network(), lent(inputs()))
        return float((after(inputs()) - network()(inputs())).detach().square().mean())

    worse = {"scales": "none", "weights": "scales"}[better]
    assert error(better) < error(worse)


def test_it_works_on_digits(images):
    assert images.mean(Thinet(ratio=0.5, refit="weights")) > images.mean(Thinet(ratio=0.5, refit="none", repair="none"))
