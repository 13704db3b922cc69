"""The log: text and back, strictly; what it is not; and that it replays (details in test_replay.py)."""

import copy
import json

import pytest
import torch
from torch import nn

from featherweight.errors import FormatError, UsageError
from featherweight.graph import log as logs
from featherweight.graph.log import Cut, Log, Removal, Replacement, keep_log, log_of, replay


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(16, 2)
    )


KEPT = [0, 1, 5]
LOG = Log(
    (
        Removal(
            {
                "0.weight": (Cut.of(0, 8, KEPT),),
                "0.bias": (Cut.of(0, 8, KEPT),),
                "1.weight": (Cut.of(0, 8, KEPT),),
                "1.bias": (Cut.of(0, 8, KEPT),),
                "1.running_mean": (Cut.of(0, 8, KEPT),),
                "1.running_var": (Cut.of(0, 8, KEPT),),
                "3.weight": (Cut.of(1, 8, KEPT),),
            }
        ),
        Replacement((("2", {"kind": "Hardswish"}),)),
    )
)


def test_text_and_back():
    text = LOG.to_json()
    assert Log.from_json(text) == LOG
    assert Log.from_json(text.encode()) == LOG
    assert Log.from_dict(json.loads(text)) == LOG
    assert Log.from_json(text).to_json() == text
    assert text.startswith(
        '{"format":"featherweight surgery","version":1,"steps":[{"do":"remove","tensors":{"0.weight"'
    )
    assert '"0.weight":[[0,8,[[0,2],[5,1]]]]' in text


def test_logs_add_up():
    first, then = Log(LOG.steps[:1]), Log(LOG.steps[1:])
    assert first + then == LOG
    assert not Log()
    assert LOG


def test_replay_leaves_the_model_as_it_is_unless_in_place():
    model = network()
    before = copy.deepcopy(model.state_dict())
    pruned = replay(model, LOG)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert (log_of(model), log_of(pruned)) == (Log(), LOG)
    assert replay(model, LOG.to_dict(), in_place=True) is model
    assert log_of(model) == LOG
    assert repr(model) == repr(pruned)
    assert model[3].in_channels == 3
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), pruned.parameters(), strict=True))


def test_the_state_of_a_pruned_network_loads_into_a_fresh_one():
    pruned = replay(network(), LOG).eval()
    fresh = replay(network(), Log.from_json(LOG.to_json())).eval()
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.mul_(1.5)
    fresh.load_state_dict(pruned.state_dict())
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(fresh(x), pruned(x))
    fresh(x).sum().backward()
    assert all(parameter.grad is not None for parameter in fresh.parameters())


def test_logs_pile_up_on_the_model_and_travel_with_copies():
    model = network()
    for step in LOG.steps:
        replay(model, Log((step,)), in_place=True)
    assert log_of(copy.deepcopy(model)) == LOG
    keep_log(model, Log())
    assert log_of(model) == Log()


def test_a_log_that_fits_in_its_first_step_only_changes_nothing():
    model = network()
    before = repr(model), [id(tensor) for tensor in model.parameters()]
    wrong = LOG + Log((Removal({"5.weight": (Cut.of(1, 99, [0]),)}),))
    with pytest.raises(UsageError, match=r"5.weight.*size 99.*\(2, 16\).*another architecture"):
        replay(model, wrong, in_place=True)
    assert (repr(model), [id(tensor) for tensor in model.parameters()]) == before
    assert log_of(model) == Log()


def _changed(**changes):
    return json.dumps(json.loads(Log().to_json()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "1" * 5000,
        b"\xff",
        _changed(format="other"),
        _changed(version=2),
        _changed(version=True),
        _changed(version="1"),
        _changed(more=1),
        _changed(steps={}),
        _changed(steps=[None]),
        _changed(steps=[{"do": "remove", "tensors": {}, "set": []}] * 4097),
        _changed(steps=[{"do": "remove", "tensors": {}, "set": [["a", "n", NaN := float("nan")]]}]),
        _changed(steps=[{"do": "remove", "tensors": {"a": [[0, 4, [[2, 1], [0, 1]]]]}, "set": []}]),
        '{"format":"featherweight surgery","version":1,"steps":[],"steps":[]}',
        '{"format":"featherweight surgery","version":1}',
        " " * (16 * 2**20 + 1),
    ],
    ids=range(20),
)
def test_text_that_is_no_log_is_refused(text):
    with pytest.raises(FormatError) as caught:
        Log.from_json(text)
    assert caught.value.code == "E_LOG"
    assert caught.value.section == "surgery"


def test_a_log_says_no_more_than_its_limit(monkeypatch):
    monkeypatch.setattr(logs, "MAX_VALUES", 10)
    with pytest.raises(UsageError, match="at most 10"):
        Log(LOG.steps)
    plain = LOG.to_dict()
    with pytest.raises(FormatError, match="at most 10"):
        Log.from_dict(plain)
