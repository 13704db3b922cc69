"""The search among sets of blocks: all of them where they are few, and near the best where they are many."""

import copy
from itertools import combinations

import pytest
import torch
from tests.techniques.pruning.layer.conftest import Deep, deep, silence, toy
from tests.training.conftest import MemoryStore
from torch import nn

import featherweight as fw
from featherweight.errors import ConfigError
from featherweight.graph.log import log_of
from featherweight.techniques.pruning.layer._judge import trial
from featherweight.techniques.pruning.layer.depth_search import DepthSearch


def test_few_sets_are_all_judged_and_the_best_is_taken():
    model = deep(seed=1)
    context = toy(model)
    technique = DepthSearch(ratio=1 / 3, repair="none", examples=48)
    choices, batches = technique.choices(model, context), list(context.batches("calibration", 48))
    scores = {}
    for pair in combinations(range(6), 2):
        with trial(model, choices.parts(pair), batches):
            scores[tuple(choices.paths(pair))] = context.evaluate(model)
    technique.apply(model, context)
    judged = {tuple(paths): score for paths, score in context.details["judged"]}
    assert judged == scores
    assert scores[tuple(context.details["removed"])] == max(scores.values())


@pytest.mark.parametrize("method", ["auto", "beam", "evolution"])
def test_identities_are_found(method):
    model = deep(seed=2)
    silence(model.one[2])
    silence(model.two[0])
    context, whole = toy(model), copy.deepcopy(model)
    technique = DepthSearch(ratio=1 / 3, method=method, evaluations=15, repair="none", examples=64)
    changed = technique.apply(model, context)
    x = torch.randn(4, 1, 6, 6)
    assert context.details["removed"] == ["one.2", "two.0"]
    assert context.details["judged"][0][1] == 1.0
    assert len(context.details["judged"]) <= 15
    assert torch.equal(changed(x), whole(x))


def test_candidates_are_judged_with_renewed_statistics():
    """Statistics that are far off make a network guess; the search must see past them."""
    model = deep(seed=1)
    context = toy(model)
    expected = DepthSearch(ratio=1 / 6, repair="none", examples=48)
    expected.apply(copy.deepcopy(model), context)
    scores = context.details["judged"]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 50
    off = toy(deep(seed=1))
    expected.apply(model, off)
    assert off.details["judged"] == scores


def test_a_run_that_is_taken_up_judges_nothing_twice(monkeypatch):
    store, technique = MemoryStore(), DepthSearch(ratio=1 / 3, evaluations=8, examples=16, repair="none")
    first = technique.apply(deep(), toy(deep(), run=store))
    context = toy(deep(), run=store)
    monkeypatch.setattr(context, "evaluate", lambda *_: pytest.fail("it judged again"))
    assert log_of(technique.apply(deep(), context)) == log_of(first)


def test_a_fresh_instance_takes_what_was_found(tmp_path):
    model = deep()
    model = DepthSearch(ratio=0.5, of="macs", evaluations=6, examples=16, steps=2).apply(model, toy(model))
    fw.save(model, tmp_path / "shallow.fwt")
    x = torch.randn(2, 1, 6, 6)
    assert torch.equal(fw.rebuild(Deep(), tmp_path / "shallow.fwt").eval()(x), model.eval()(x))


@pytest.mark.parametrize("wrong", [{"evaluations": 1}, {"width": 0}, {"ratio": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DepthSearch(**wrong)
