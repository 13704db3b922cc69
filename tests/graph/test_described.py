"""Modules as plain data: what is refused, and what building costs nobody."""

import copy

import pytest
import torch
from torch import nn

from featherweight.errors import UsageError
from featherweight.graph.described import build, describe, elements


class Mine(nn.Linear):
    pass


def _network():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    )


def test_children_keep_their_names_and_order():
    network = _network()
    network.add_module("last", nn.Identity())
    again = build(describe(network))
    assert [name for name, _ in again.named_modules()] == [name for name, _ in network.named_modules()]
    again.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(again.eval()(x), network.eval()(x))


def test_building_leaves_the_random_state_alone_and_gives_the_same_each_time():
    description = describe(_network())
    before = torch.random.get_rng_state()
    first, second = build(description), build(description)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(parameter.std() > 0 for parameter in first[3].parameters())  # initialised, not zero


def test_types_and_devices():
    description = {
        "kind": "Sequential",
        "children": [
            ["a", {"kind": "Linear", "in_features": 2, "out_features": 2}],
            ["b", {"kind": "Linear", "in_features": 2, "out_features": 2, "dtype": "float64"}],
        ],
    }
    built = build(description, device="meta", dtype=torch.float16)
    assert [parameter.dtype for parameter in built.parameters()] == [torch.float16] * 2 + [torch.float64] * 2
    assert all(parameter.is_meta for parameter in built.parameters())
    assert elements(description) == 12


def _hooked():
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    return module


def _parametrized():
    module = nn.Linear(2, 2)
    nn.utils.parametrizations.weight_norm(module)
    return module


def _patched():
    module = nn.ReLU()
    module.forward = lambda x: x
    return module


def _tied():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    return network


def _resized():
    module = nn.Linear(2, 2)
    module.weight = nn.Parameter(torch.zeros(2, 3))
    return module


def _reused():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, layer)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.ReLU(), Mine(2, 2)), "Sequential.1.*Mine"),
        (nn.Sequential(_hooked()), "hooks"),
        (_parametrized(), "parametrizations"),
        (_patched(), "forward was replaced"),
        (_tied(), "occurs twice.*0.weight.*1.weight"),
        (_reused(), "occurs twice"),
        (_resized(), r"Linear.weight.*\(2, 2\).*\(2, 3\)"),
        (nn.MultiheadAttention(4, 2).to(torch.float8_e4m3fn), "one type"),
        (nn.ModuleList([nn.ReLU()]), "ModuleList"),
    ],
)
def test_what_a_description_would_lose_is_refused(module, message):
    with pytest.raises(UsageError, match=message):
        describe(module)


LINEAR = {"kind": "Linear", "in_features": 2, "out_features": 2}


def _nested(depth):
    description = LINEAR
    for _ in range(depth):
        description = {"kind": "Sequential", "children": [["0", description]]}
    return description


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, '"kind"'),
        ([], '"kind"'),
        ({"kind": ["Linear"]}, '"kind"'),
        ({"kind": "Linaer"}, "Linear"),
        ({"kind": "nn.Linear"}, "no such kind"),
        ({"kind": "Module"}, "no such kind"),
        ({"kind": "Linear", "in_features": 2}, "out_features"),
        (LINEAR | {"bias": 1}, "true or false"),
        (LINEAR | {"device": "cuda"}, "no such setting.*device"),
        (LINEAR | {"dtype": "qint8"}, "qint8"),
        (LINEAR | {"in_features": -1}, "in_features.*2.31"),
        (LINEAR | {"in_features": 2**31 + 1}, "in_features"),
        (LINEAR | {"in_features": True}, "in_features"),
        (LINEAR | {"in_features": 2**31, "out_features": 2**31}, "description"),
        (LINEAR | {"in_features": 2**16, "out_features": 2**16}, "weights"),
        ({"kind": "LSTM", "input_size": 2, "hidden_size": 2, "num_layers": 2**31}, "num_layers"),
        ({"kind": "Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1, "groups": 2}, "Conv2d cannot"),
        ({"kind": "Sequential", "children": [["a.b", LINEAR]]}, "a.b"),
        ({"kind": "Sequential", "children": [["append", LINEAR]]}, "append"),
        ({"kind": "Sequential", "children": [["training", LINEAR]]}, "training"),
        ({"kind": "Sequential", "children": [["0", LINEAR], ["0", LINEAR]]}, "each name once"),
        ({"kind": "Sequential", "children": [], "more": 1}, "children"),
        (_nested(17), "nested"),
        (_nested(5000), "nested"),
        (
            {"kind": "Sequential", "children": [[str(i), copy.deepcopy(_deep := {
                "kind": "LSTM", "input_size": 1, "hidden_size": 1, "num_layers": 4096})] for i in range(17)]},
            "modules and layers",
        ),
    ],
)  # fmt: skip
def test_hostile_descriptions_are_refused_before_memory_is_taken(description, message):
    with pytest.raises(UsageError, match=message):
        build(description)


def test_sequential_to_the_limit_of_depth():
    assert describe(build(_nested(16))) == _nested(16)
