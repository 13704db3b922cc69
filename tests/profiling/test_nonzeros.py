"""Nonzeros: what pruning leaves."""

import torch
from torch import nn

from featherweight.profiling.nonzeros import Nonzeros


def test_zeros_are_not_counted():
    model = nn.Sequential(nn.Linear(10, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        model[0].weight.fill_(1.0)[:, :4] = 0
        model[0].bias.zero_()
    assert Nonzeros().measure(model).parts == {"0": 18, "1": 3}
