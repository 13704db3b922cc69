"""Which blocks go, that features come back, that the network is rebuilt, and what it keeps on real data."""

import copy
from itertools import permutations

import pytest
import torch
from tests.techniques.pruning.layer.conftest import Deep, deep, silence, toy
from tests.training.conftest import MemoryStore
from torch import nn

import featherweight as fw
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.log import log_of
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.techniques.pruning.layer._judge import Judge
from featherweight.techniques.pruning.layer.block_removal import BlockRemoval


@pytest.mark.parametrize("criterion", ["loss", "features"])
@pytest.mark.parametrize("order", ["greedy", "once"])
def test_an_exact_identity_goes_first_and_costs_nothing(criterion, order):
    model = deep()
    silence(model.two[1])
    context, whole = toy(model), copy.deepcopy(model)
    technique = BlockRemoval(ratio=1 / 6, criterion=criterion, order=order, repair="none", examples=64)
    changed = technique.apply(model, context)
    assert context.details["order"] == ["two.1"]
    assert type(changed.two[1]) is nn.Identity
    x = torch.randn(5, 1, 6, 6)
    assert torch.equal(changed(x), whole(x))
    if criterion == "features":
        assert context.details["scores"][0]["two.1"] == 0
        assert min(value for path, value in context.details["scores"][0].items() if path != "two.1") > 1e-3


def test_greedy_is_the_best_next_step_of_all_orders():
    """Against the loss of every order of two removals, computed without the technique."""
    model = deep(seed=3)
    context = toy(model)
    technique = BlockRemoval(ratio=1 / 3, repair="none", examples=64)
    choices = technique.choices(model, context)
    judge = Judge("loss", model, list(context.batches("calibration", 64)), context)
    alone = {number: judge(choices.parts([number])) for number in range(6)}
    first = min(alone, key=alone.get)
    pairs = {pair: judge(choices.parts(pair)) for pair in permutations(range(6), 2) if pair[0] == first}
    best = min(pairs, key=pairs.get)
    technique.apply(model, context)
    assert context.details["order"] == [choices.blocks[number].path for number in best]
    assert context.details["scores"][1][choices.blocks[best[1]].path] == pytest.approx(pairs[best])


def test_measuring_leaves_the_network_as_it_was():
    model = deep().train()
    context, before = toy(model), copy.deepcopy(model.state_dict())
    model.train()
    technique = BlockRemoval(examples=32)
    technique.choose(model, technique.choices(model, context), context)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_the_share_that_is_asked_for_is_met_as_nearly_as_blocks_can(of):
    model = deep(width=4, wide=20)
    context, whole = toy(model), sum(parameter.numel() for parameter in model.parameters())
    changed = BlockRemoval(ratio=0.5, of=of, repair="none", examples=16).apply(model, context)
    reached = context.details["reached"]
    if of == "parameters":
        assert reached == 1 - sum(parameter.numel() for parameter in changed.parameters()) / whole
    block = {"parameters": 7280 / whole, "macs": 0.36}[of]
    assert abs(reached - 0.5) <= block / 2 + 0.01


def test_latency_is_measured():
    model = deep()
    context = toy(model)
    BlockRemoval(ratio=0.3, of="latency", repair="none", examples=16).apply(model, context)
    assert 0 < context.details["reached"] < 1


def test_repaired_features_are_nearer_to_those_of_the_whole_network():
    model = deep()
    context = toy(model)
    BlockRemoval(ratio=1 / 3, steps=24, examples=64, rate=3e-3).apply(model, context)
    errors = context.details["feature_error"]
    assert sorted(", ".join(errors).split(", ")) == context.details["removed"]
    for before, after in errors.values():
        assert after < 0.8 * before


@pytest.mark.slow
def test_a_third_of_the_blocks_costs_little_with_repair(digits):
    """Digits, one seed: what repair keeps is much more than what is left without it."""
    model = digits.trained()
    whole = digits.context().evaluate(model)
    kept = {}
    for repair in ("none", "features"):
        changed = BlockRemoval(ratio=1 / 3, repair=repair).apply(copy.deepcopy(model), digits.context())
        kept[repair] = digits.context().evaluate(changed)
    assert whole > 0.95
    assert kept["features"] > whole - 0.02
    assert kept["features"] > kept["none"] + 0.05


def test_it_keeps_what_it_is_told_to():
    model = deep()
    context = toy(model)
    BlockRemoval(ratio=0.5, keep=("two.*",), repair="none", examples=16).apply(model, context)
    assert context.details["removed"] == ["one.0", "one.1", "one.2"]
    assert context.details["whole"] == dict.fromkeys(("two.0", "two.1", "two.2"), "kept")


def test_modules_can_be_named():
    model = deep()
    context = toy(model)
    BlockRemoval(ratio=0.5, blocks=("one*", "two"), repair="none", examples=16).apply(model, context)
    assert context.details["removed"] in (["one"], ["two"])


def test_a_network_of_one_shape_nowhere_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 3))
    with pytest.raises(TechniqueError, match="no blocks"):
        BlockRemoval().apply(model, toy(model))


@pytest.mark.parametrize("wrong", [{"ratio": 1.0}, {"examples": 0}, {"steps": -1}, {"rate": 0.0}, {"epochs": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BlockRemoval(**wrong)


ROWS = {
    "blocks": (BlockRemoval(ratio=1 / 3, examples=32, steps=4),),
    "channels, then blocks": (Norm(ratio=0.5), BlockRemoval(ratio=1 / 3, examples=32, steps=4)),
    "blocks, then channels": (BlockRemoval(ratio=1 / 3, examples=32, steps=4), Norm(ratio=0.5)),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_fresh_instance_takes_the_structure_and_the_weights(row, tmp_path):
    model = deep()
    context = toy(model)
    for technique in ROWS[row]:
        model = technique.apply(model, context)
    fw.save(model, tmp_path / "pruned.fwt")
    x = torch.randn(3, 1, 6, 6)
    for source in (tmp_path / "pruned.fwt", log_of(model).to_dict()):
        again = fw.rebuild(Deep(), source)
        again.load_state_dict(model.state_dict())
        assert torch.equal(again.eval()(x), model.eval()(x))
        again.train()(x).sum().backward()


def test_a_run_that_is_taken_up_does_not_measure_again(monkeypatch):
    store, technique = MemoryStore(), BlockRemoval(ratio=1 / 3, examples=16, repair="none")
    first = technique.apply(deep(), toy(deep(), run=store))
    monkeypatch.setattr(Judge, "__call__", lambda *_: pytest.fail("it measured again"))
    context = toy(deep(), run=store)
    again = technique.apply(deep(), context)
    assert log_of(first) == log_of(again)
    assert len(context.details["scores"]) == 2
