import copy

import pytest
import torch
from torch import nn

from featherweight.core.task import Task
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.techniques._selection import WEIGHTS, select
from featherweight.techniques.pruning.connection._dead import prune_dead
from featherweight.techniques.pruning.connection._pruner import Pruner
from featherweight.training.context import TaskContext


def mlp(bias=True):
    return nn.Sequential(
        nn.Linear(6, 5, bias=bias), nn.ReLU(), nn.Linear(5, 4, bias=bias), nn.Tanh(), nn.Linear(4, 3, bias=bias)
    )


def convs():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(5 * 4, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def cleaned(model, example, zero):
    """Model and its copy without the weights that `zero` names: {tensor: index}; and how many more were pruned."""
    tensors = dict(model.named_parameters())
    masks = {name: torch.ones_like(tensors[name], dtype=torch.bool) for name in zero}
    for name, indices in zero.items():
        for index in indices:
            masks[name][index] = False
    attach(model, {name: Sparse.of(tensors[name], mask) for name, mask in masks.items()})
    before = copy.deepcopy(model)
    count = prune_dead(Pruner(model, select(model, (), WEIGHTS)), TaskContext(Task(model=model, example=example)))
    return before, model, count


def check_same_outputs(before, after, example):
    with torch.no_grad():
        for scale in (1.0, -3.0, 100.0):
            assert torch.allclose(before(example * scale), after(example * scale), rtol=1e-5, atol=1e-5 * scale**2)


def test_ways_into_an_unread_unit():
    example = torch.randn(7, 6)
    before, after, count = cleaned(mlp(), example, {"2.weight": [(slice(None), 2)], "4.weight": [(slice(None), 0)]})
    check_same_outputs(before, after, example)
    assert (after[0].weight[2] == 0).all()
    assert after[0].bias[2] == 0
    assert (after[2].weight[0] == 0).all()
    assert count == 6 + 4  # one of the four was pruned before
    assert not encodings_of(after)["0.weight"].mask[2].any()


def test_ways_out_of_a_constant_unit_become_bias():
    example = torch.randn(7, 6)
    model = mlp()
    model[0].bias.data[:] = torch.tensor([0.7, -0.3, 0.0, 0.2, 0.1])
    before, after, count = cleaned(model, example, {"0.weight": [0, 1]})
    check_same_outputs(before, after, example)
    assert (after[2].weight[:, :2] == 0).all()
    assert torch.allclose(after[2].bias, before[2].bias + before[2].weight[:, 0] * 0.7)
    assert count == 8
    assert (after[0].bias[:2] == 0).all()


def test_death_spreads_until_nothing_changes():
    example = torch.randn(7, 6)
    zero = {"4.weight": [(slice(None), slice(1, None))]}  # one unit of the middle layer is left
    zero["2.weight"] = [(0, slice(2, None))]  # which reads two units of the first
    before, after, _ = cleaned(mlp(), example, zero)
    check_same_outputs(before, after, example)
    assert [int((layer.weight != 0).sum()) for layer in (after[0], after[2], after[4])] == [12, 2, 3]


def test_without_biases_only_what_is_zero_goes():
    example = torch.randn(7, 6)
    before, after, count = cleaned(mlp(bias=False), example, {"0.weight": [0]})
    check_same_outputs(before, after, example)
    assert count == 4  # relu(0) is 0


@pytest.mark.parametrize("seed", range(4))
def test_random_masks_over_convolutions(seed):
    torch.manual_seed(seed)
    example, model = torch.randn(3, 1, 6, 6), convs()
    masks = {w.name: torch.rand_like(w.parameter) < 0.12 for w in select(model, (), WEIGHTS)}
    attach(model, {name: Sparse.of(dict(model.named_parameters())[name], mask) for name, mask in masks.items()})
    before = copy.deepcopy(model)
    pruner = Pruner(model, select(model, (), WEIGHTS))
    count = prune_dead(pruner, TaskContext(Task(model=model, example=example)))
    check_same_outputs(before, model, example)
    assert count == sum(int(a.sum() - b.sum()) for a, b in zip(masks.values(), pruner.masks(), strict=True))
    assert count > 0


def test_a_constant_that_meets_a_padded_border_stays():
    example, model = torch.randn(3, 1, 6, 6), convs()
    model[0].bias.data[:] = torch.tensor([0.5, -0.5, 0.5, 0.5])
    before, after, count = cleaned(model, example, {"0.weight": [0, 1]})
    check_same_outputs(before, after, example)
    assert count == 5 * 9  # of the unit that is zero behind its activation
    assert (after[2].weight[:, 0] != 0).any()


def test_shared_biases_are_not_touched():
    example, model = torch.randn(7, 6), mlp()
    model[0].bias.data.fill_(0.5)
    attach(model, {"2.bias": Codebook.of(model[2].bias, torch.tensor([-0.2, 0.2]))})
    held = model[2].bias.detach().clone()
    before, after, count = cleaned(model, example, {"0.weight": [0]})
    check_same_outputs(before, after, example)
    assert count == 0
    assert torch.equal(after[2].bias, held)


def test_a_model_that_cannot_be_traced_is_left_alone():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, inputs):
            hidden = self.first(inputs)
            return self.last(hidden) if float(hidden.sum()) > 0 else self.last(-hidden)

    model, example = Branching(), torch.randn(7, 6)
    pruner = Pruner(model, select(model, (), WEIGHTS))
    pruner.restrict({"first.weight": torch.eye(5, 6) > 2})
    assert prune_dead(pruner, TaskContext(Task(model=model, example=example))) is None
    assert pruner.densities() == [0.0, 1.0]
