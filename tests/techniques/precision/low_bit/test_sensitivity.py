import pytest
import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError
from featherweight.techniques.precision.low_bit._sensitivity import measured


def generator():
    return torch.Generator().manual_seed(0)


def batches(inputs, size=16):
    return [Batch((part,), torch.zeros(len(part), dtype=torch.int64)) for part in inputs.split(size)]


def test_fisher_of_logistic_regression():
    """In closed form: E[p (1 - p) x^2] for each weight of a softmax over two classes."""
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(4000, 3)
    found = measured(model, batches(inputs, 4), generator(), inputs=True)
    chances = model(inputs).softmax(dim=1).detach()
    spread = chances[:, 0] * chances[:, 1]
    wanted = (spread[:, None] * inputs.square()).mean(dim=0).expand(2, 3)
    assert torch.allclose(found.fisher["weight"], wanted, rtol=0.15)
    assert torch.allclose(found.outputs["weight"], spread.mean().expand(2), rtol=0.1)
    assert torch.allclose(found.moments["weight"][0], inputs.T @ inputs / 4000, atol=1e-4)
    assert torch.allclose(found.means["weight"][0], inputs.mean(dim=0), atol=1e-5)
    assert found.examples == 4000


def test_outputs_that_are_no_classes_are_gaussian():
    model, inputs = nn.Sequential(nn.Linear(4, 1, bias=False)), torch.randn(3000, 4)
    found = measured(model, batches(inputs, 3), generator(), inputs=False)
    assert torch.allclose(found.fisher["0.weight"][0], inputs.square().mean(dim=0), rtol=0.15)
    assert not found.moments


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.Conv2d(4, 6, 1, groups=2, bias=False),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(4, 6, (1, 5), padding=(0, 2), bias=False),
    ],
)
def test_moments_tell_the_energy_of_a_convolution(layer):
    """The mean squared output of each row is w H w^T, its mean w . m: with the same padding, exactly."""
    torch.manual_seed(0)
    inputs = torch.randn(5, 4, 8, 8) + 0.3
    found = measured(nn.Sequential(layer), batches(inputs, 5), generator(), inputs=True)
    with torch.no_grad():
        output = layer(inputs)
        moments, means = found.moments["0.weight"], found.means["0.weight"]
        rows = layer.weight.reshape(len(moments), -1, moments.shape[1])
        energy = torch.einsum("gri,gij,grj->gr", rows, moments, rows).reshape(-1)
        mean = torch.einsum("gri,gi->gr", rows, means).reshape(-1)
    assert torch.allclose(energy, output.square().mean(dim=(0, 2, 3)), rtol=1e-4)
    assert torch.allclose(mean, output.mean(dim=(0, 2, 3)), atol=1e-4)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 5, stride=2)])
def test_of_many_places_some_are_enough(layer):
    torch.manual_seed(0)
    inputs = torch.randn(20, 3, 50, 50).cumsum(dim=3) / 5
    whole = measured(nn.Sequential(layer), batches(inputs, 1), generator(), inputs=True)
    some = measured(nn.Sequential(layer), batches(inputs, 20), generator(), inputs=True)
    assert some.places["0.weight"] < 2000 < whole.places["0.weight"]
    wanted = whole.moments["0.weight"]
    assert (some.moments["0.weight"] - wanted).norm() < 0.35 * wanted.norm()


def test_the_batch_norm_behind_a_layer_is_found():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.conv, self.plain = nn.BatchNorm2d(3), nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.plain(torch.relu(self.late(self.conv(x)))).mean(dim=(2, 3))

    found = measured(Net(), batches(torch.randn(8, 1, 6, 6)), generator(), inputs=True)
    assert found.norms == {"conv.weight": "late"}


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    state = {name: item.clone() for name, item in model.state_dict().items()}
    found = measured(model, batches(torch.randn(32, 3)), generator(), inputs=True)
    assert "0.weight" not in found.fisher
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(item, state[name]) for name, item in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_shared_layers_and_sequences():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return (self.layer(torch.tanh(self.layer(x))).mean(dim=1), "more")

    found = measured(Twice(), batches(torch.randn(8, 5, 3)), generator(), inputs=True)
    assert found.places["layer.weight"] == 2 * 8 * 5
    assert found.moments["layer.weight"].shape == (1, 3, 3)


def test_what_cannot_be_measured():
    with pytest.raises(TechniqueError, match="no calibration examples"):
        measured(nn.Linear(2, 2), [], generator(), inputs=False)

    class Words(nn.Module):
        def forward(self, x):
            return ["yes"]

    with pytest.raises(TechniqueError, match="no floating-point tensor"):
        measured(Words(), batches(torch.randn(2, 2)), generator(), inputs=False)
