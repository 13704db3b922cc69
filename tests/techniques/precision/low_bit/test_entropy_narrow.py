import copy

import pytest
import torch
from torch import nn

from featherweight.core.task import Task
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.techniques.precision.low_bit._entropy_narrow import Narrowing
from featherweight.training.context import TaskContext


def context(model, *shape):
    return TaskContext(Task(model=model, example=torch.randn(*shape)))


def narrowing(model, lent):
    return Narrowing.of(model, {name for name, _ in model.named_parameters()}, lent)


def thinned(model, seed=0):
    """The model with whole rows and columns of zeros, and zeros in their biases."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            rows = torch.rand(len(parameter), generator=generator) < 0.3
            parameter[rows] = 0
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.shape[1] > 1:
                parameter[:, torch.rand(parameter.shape[1], generator=generator) < 0.2] = 0
    return model


@pytest.mark.parametrize("kind", [LeNet5, LeNet300100])
def test_outputs_stay_and_tensors_shrink(kind):
    model = thinned(kind())
    lent = context(model, 2, 1, 28, 28)
    found = narrowing(model, lent)
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    found.look(weights)
    narrow = found.narrow(weights)
    assert sum(t.numel() for t in narrow.values()) < 0.8 * sum(t.numel() for t in weights.values())
    images = torch.randn(5, 1, 28, 28)
    assert torch.allclose(torch.func.functional_call(model, narrow, (images,)), model(images), atol=1e-5)


def test_burying_is_for_good_and_its_masks_cover_all_ways_in_and_out():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    found = narrowing(model, context(model, 2, 4))
    weights = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    weights["0.weight"][1] = 0
    weights["0.bias"][1] = 0  # no way in
    weights["2.weight"][:, 4] = 0  # not read
    found.look(weights)
    assert found.alive()[0].tolist() == [True, False, True, True, False, True]
    masks = found.masks({name: tensor.shape for name, tensor in weights.items()})
    assert set(masks) == {"0.weight", "0.bias", "2.weight"}
    assert not masks["0.weight"][[1, 4]].any() and not masks["0.bias"][[1, 4]].any()
    assert not masks["2.weight"][:, [1, 4]].any()
    assert sum(int(mask.sum()) for mask in masks.values()) == 4 * 4 + 4 + 3 * 4
    found.look({name: torch.ones_like(tensor) for name, tensor in weights.items()})
    assert int(found.alive()[0].sum()) == 4


def test_a_unit_that_only_a_dead_unit_reads_dies_too():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    found = narrowing(model, context(model, 2, 4))
    weights = {name: torch.ones_like(tensor) for name, tensor in model.named_parameters()}
    weights["2.weight"] = torch.eye(3)
    weights["4.weight"][:, 0] = 0
    found.look(weights)
    assert [alive.tolist() for alive in found.alive()] == [[False, True, True]] * 2


def test_a_constant_unit_is_no_dead_unit():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = narrowing(model, context(model, 2, 4))
    weights = {name: torch.ones_like(tensor) for name, tensor in model.named_parameters()}
    weights["0.weight"][0] = 0
    found.look(weights)
    assert found.alive()[0].all()


class WrittenDown(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, images):
        return self.two(torch.relu(self.one(images)).view(-1, 144))


def test_what_cannot_be_narrowed_is_left_alone():
    written = WrittenDown()
    sigmoid = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))  # zero does not arrive as zero
    partly = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert narrowing(written, context(written, 2, 1, 8, 8)).alive() == []
    assert narrowing(sigmoid, context(sigmoid, 2, 4)).alive() == []
    assert Narrowing.of(partly, {"0.weight", "0.bias"}, context(partly, 2, 4)).alive() == []
    weights = dict(partly.named_parameters())
    assert Narrowing([], [], torch.device("cpu")).narrow(weights) == weights


def test_taking_out_leaves_the_function_and_says_the_new_sizes():
    model = thinned(LeNet5()).eval()
    images = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        wanted = model(images)
    model.fc1.weight.requires_grad_(False)
    found = narrowing(model, context(model, 2, 1, 28, 28))
    found.look({name: tensor.detach() for name, tensor in model.named_parameters()})
    found.take_out(model)
    alive = [int(one.sum()) for one in found.alive()]
    assert [model.conv1.out_channels, model.conv2.out_channels, model.fc1.out_features] == alive
    assert [model.conv2.in_channels, model.fc1.in_features, model.fc2.in_features] == [
        alive[0],
        16 * alive[1],
        alive[2],
    ]
    assert model.fc1.weight.shape == (alive[2], 16 * alive[1]) and not model.fc1.weight.requires_grad
    assert model.conv1.weight.requires_grad
    with torch.no_grad():
        assert torch.allclose(model(images), wanted, atol=1e-5)


def test_a_layer_keeps_one_unit_at_least():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = narrowing(model, context(model, 2, 4))
    found.look({name: torch.zeros_like(tensor) for name, tensor in model.named_parameters()})
    assert int(found.alive()[0].sum()) == 1


def test_looking_for_units_leaves_the_mode_of_every_module():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).train()
    model[1].eval()
    assert narrowing(model, context(model, 2, 4)).alive()
    assert [module.training for module in model] == [True, False, True]
