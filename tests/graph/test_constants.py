"""Constant channels: cutting them changes nothing, where that can be exact."""

import pytest
import torch
from torch import nn

from featherweight.graph import surgery


def network(padding, norm, bias):
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Conv2d(6, 4, 3, padding=padding, bias=bias)]
    layers += [nn.BatchNorm2d(4)] if norm else []
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(2, 2, 8, 8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        model[1].weight[:2] = 0  # two channels that are sigmoid(shift) everywhere
    return model.eval()


@pytest.mark.parametrize(("padding", "norm", "bias"), [(0, False, True), (0, True, False), (0, True, True)])
def test_constant_channels_go_without_a_trace(padding, norm, bias):
    model, example = network(padding, norm, bias), torch.randn(3, 2, 8, 8)
    known = surgery.anatomy(model, example)
    cut = surgery.remove(model, known, known.group("0").atoms[:2])
    other = torch.randn(5, 2, 8, 8)
    assert torch.allclose(cut(other), model(other), atol=1e-5)


def test_others_leave_nothing_behind():
    model, example = network(0, norm=False, bias=True), torch.randn(3, 2, 8, 8)
    known = surgery.anatomy(model, example)
    cut = surgery.remove(model, known, known.group("0").atoms[2:4])
    assert torch.equal(cut[3].bias, model[3].bias)


def test_borders_of_zeros_are_left_alone():
    model, example = network(1, norm=False, bias=True), torch.randn(3, 2, 8, 8)
    known = surgery.anatomy(model, example)
    cut = surgery.remove(model, known, known.group("0").atoms[:2])
    assert torch.equal(cut[3].bias, model[3].bias)


def test_a_linear_layer_takes_constants_into_its_bias():
    model = nn.Sequential(nn.Linear(4, 6), nn.Softplus(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[1] = 0
    known = surgery.anatomy(model, torch.randn(4, 4))
    cut = surgery.remove(model, known, known.group("0").atoms[1:2])
    other = torch.randn(5, 4)
    assert torch.allclose(cut(other), model(other), atol=1e-6)
