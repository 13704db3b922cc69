import copy

import pytest
import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.techniques.pruning._layers import fitted_layers
from featherweight.techniques.pruning._refit import Look, fit, tensors_by_name, visit
from featherweight.techniques.pruning._walk import Walk

CPU = torch.device("cpu")


def seen(before, after, inputs, outputs=None, split=16):
    """The last layer of `after`, and its rows, in batches of `split`."""
    walk = Walk.of(before.eval(), after.eval(), [Batch((part,), None) for part in inputs.split(split)], CPU)
    layer = fitted_layers(walk.graph, after)[-1]
    look = Look(
        layer, tensors_by_name(before), tensors_by_name(after), outputs, len(inputs), torch.Generator().manual_seed(0)
    )
    return look, visit(walk, [look])[0]


def inputs(count=64):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(0))


def test_weights_that_were_spoilt_come_back():
    before = nn.Sequential(nn.Linear(5, 3))
    after = copy.deepcopy(before)
    with torch.no_grad():
        after[0].weight.add_(1.0)
        after[0].bias.zero_()
    assert fit(*seen(before, after, inputs())) < 1e-6
    torch.testing.assert_close(after[0].weight, before[0].weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after[0].bias, before[0].bias, rtol=1e-3, atol=1e-3)


def test_what_is_right_already_is_not_touched():
    before = nn.Sequential(nn.Linear(5, 3))
    after = copy.deepcopy(before)
    fit(*seen(before, after, inputs()))
    torch.testing.assert_close(after[0].weight, before[0].weight, rtol=0, atol=1e-6)


def test_every_fourth_example_judges_across_batches():
    before = nn.Sequential(nn.Linear(5, 3))
    for split in (16, 5, 1):
        _, found = seen(before, copy.deepcopy(before), inputs(), split=split)
        assert (found.teach.count, found.judge.count) == (48, 16)


def test_what_noise_teaches_is_not_written():
    """As many columns as rows: a fit would be perfect on what it saw and wrong elsewhere."""
    torch.manual_seed(0)
    rows = torch.randn(16, 12)

    class Noise(nn.Module):
        """The layer's output in the whole network is unrelated to what it reads."""

        def __init__(self, scale):
            super().__init__()
            self.scale, self.layer = scale, nn.Linear(12, 4)

        def forward(self, x):
            return self.layer((x * 1e3 * self.scale).sin() * 3)

    before, after = Noise(1.0), Noise(17.0)
    with torch.no_grad():
        after.layer.weight.zero_()
        after.layer.bias.copy_(before.layer.bias)
    share = fit(*seen(before, after, rows))
    assert share <= 1.0 and after.layer.weight.abs().max() < 0.2 * before.layer.weight.abs().max()


def test_only_rows_that_are_left_are_reached_and_columns_that_are_not_live_stay_zero():
    before = nn.Sequential(nn.Linear(5, 3))
    after = nn.Sequential(nn.Linear(5, 2))
    look, found = seen(before, after, inputs(), outputs=torch.tensor([0, 2]))
    live = torch.tensor([[True, True, False, True, True]])
    fit(look, found, live)
    assert not after[0].weight[:, 2].any()
    columns = [0, 1, 3, 4]
    whole = before[0].weight[[0, 2]][:, columns]
    torch.testing.assert_close(after[0].weight[:, columns], whole, rtol=0, atol=0.35)  # up to chance correlations


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_keep_their_type(dtype):
    before = nn.Sequential(nn.Linear(5, 3)).to(dtype)
    after = copy.deepcopy(before)
    with torch.no_grad():
        after[0].weight.mul_(3.0)
    fit(*seen(before, after, inputs().to(dtype)))
    assert after[0].weight.dtype == dtype
    torch.testing.assert_close(after[0].weight, before[0].weight, rtol=0, atol=0.02)


def test_a_norm_whose_statistics_were_changed_is_made_up_for():
    """Mean, variance, scale and shift of the smaller network's norm are others: what comes out of it is the same."""
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4))
    after = nn.Sequential(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3))
    with torch.no_grad():
        for model in (before, after):
            for item in (*model[1].parameters(), model[1].running_mean, model[1].running_var):
                item.uniform_(0.5, 2.0)
    rows = torch.tensor([0, 1, 3])
    assert fit(*seen(before, after, inputs(), outputs=rows)) < 1e-6
    torch.testing.assert_close(after(inputs()), before(inputs())[:, rows], rtol=1e-3, atol=1e-3)
