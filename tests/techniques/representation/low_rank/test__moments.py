import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.errors import TechniqueError
from featherweight.techniques.representation.low_rank._find import Layer, find
from featherweight.techniques.representation.low_rank._moments import second_moment

TARGETS = torch.zeros(12, dtype=torch.int64)


def test_linear_layers_see_rows(lender):
    inputs = torch.randn(12, 5) + 2
    model = nn.Sequential(nn.Linear(5, 3))
    context = lender(model, inputs[:1], calibration=(inputs, TARGETS))
    (layer,) = find(model, context, (nn.Linear,), ()).layers
    wanted = inputs.double().T @ inputs.double() / 12
    assert torch.allclose(second_moment(layer, context, 12), wanted, atol=1e-6)


def test_convolutions_see_windows_and_the_error_of_outputs_follows(lender):
    images = torch.randn(12, 2, 4, 4)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, stride=2, bias=False))
    context = lender(model, images[:1], calibration=(images, TARGETS))
    (layer,) = find(model, context, (nn.Conv2d,), ()).layers
    moment = second_moment(layer, context, 12)
    windows = F.unfold(images.double(), 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(moment, windows.T @ windows / len(windows), atol=1e-6)
    weight = model[0].weight.detach().double().flatten(1)
    outputs = model(images).detach().square().sum(1).mean()
    assert float(torch.trace(weight @ moment @ weight.T)) == pytest.approx(float(outputs), rel=1e-5)


def test_recurrent_layers_are_not_sampled(lender):
    model = nn.LSTM(3, 4)
    layer = Layer("", nn.LSTMCell(3, 4), model, (), ())
    layer.module.weight = nn.Parameter(torch.zeros(4, 3))
    with pytest.raises(TechniqueError):
        second_moment(layer, lender(model, torch.randn(2, 1, 3), calibration=(torch.randn(12, 1, 3), TARGETS)), 4)
