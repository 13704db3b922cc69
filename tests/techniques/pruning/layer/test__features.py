"""Which modules stand around a gap, and that only they are trained."""

import copy

import torch
from tests.techniques.pruning.layer.conftest import deep, toy

from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.graph.blocks import blocks_of, chain
from featherweight.techniques.pruning.layer._depth import take_out
from featherweight.techniques.pruning.layer._features import FeatureRepair, _gaps


def shallow(*numbers):
    model = deep()
    context = toy(model)
    whole, blocks = copy.deepcopy(model), chain(blocks_of(model, context.example))
    take_out(model, [blocks[number] for number in numbers])
    return whole, model, [blocks[number].path for number in numbers], context


def test_gaps_are_what_lies_between_modules_of_the_same_level():
    _, model, removed, context = shallow(0, 1, 3, 5)
    gaps = [(gap.removed, gap.front, gap.back) for gap in _gaps(model, removed, context.example)]
    assert gaps == [
        (("one.0", "one.1"), "stem.1", "one.2"),
        (("two.0",), "down.1", "two.1"),
        (("two.2",), "two.1", "head"),
    ]


def test_only_the_modules_around_change_and_only_for_the_better():
    whole, model, removed, context = shallow(4)
    before = copy.deepcopy(model.state_dict())
    batches = list(context.batches("calibration", 64))
    repair = FeatureRepair(steps=16, rate=3e-3)
    ((gap, (first, last)),) = repair(whole, model, removed, batches, context).items()
    assert gap == "two.1"
    assert last < first
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert {name.rpartition(".")[0].split(".conv")[0].split(".norm")[0] for name in changed} == {"two.0", "two.2"}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rate_that_ruins_the_features_changes_nothing():
    whole, model, removed, context = shallow(4)
    before = copy.deepcopy(model.state_dict())
    repair = FeatureRepair(steps=4, rate=1e3)
    ((first, last),) = repair(whole, model, removed, list(context.batches("calibration", 64)), context).values()
    assert first == last
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_zeros_stay_zeros():
    whole, model, removed, context = shallow(4)
    weight = model.two[0].conv1.weight.detach()
    mask = torch.rand_like(weight) > 0.5
    attach(model, {"two.0.conv1.weight": Sparse(mask, Dense(weight[mask]))})
    FeatureRepair(steps=6, rate=3e-3)(whole, model, removed, list(context.batches("calibration", 32)), context)
    assert not model.two[0].conv1.weight.detach()[~mask].any()
    assert encodings_of(model).keys() == {"two.0.conv1.weight"}
