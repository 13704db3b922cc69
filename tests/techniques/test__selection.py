import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError, TechniqueError
from featherweight.techniques._selection import (
    WEIGHTS,
    check_setting,
    parameters_of,
    select,
    tensors_of,
    value_for,
    with_values,
)


class Zoo(nn.Module):
    """One layer of every kind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.up = nn.ConvTranspose1d(4, 2, 3)
        self.norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm((4, 4))
        self.lstm = nn.LSTM(4, 5, bidirectional=True)
        self.cell = nn.GRUCell(4, 5)
        self.embedding = nn.Embedding(10, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Sequential(nn.Linear(5, 2))
        self.own = nn.Parameter(torch.ones(6, 7))
        self.token = nn.Parameter(torch.ones(1, 1, 7))
        self.whole = nn.Parameter(torch.ones(3, dtype=torch.int64), requires_grad=False)


def names(weights):
    return [weight.name for weight in weights]


def test_kinds():
    kinds = {weight.name: weight.kind for weight in parameters_of(Zoo())}
    expected = {
        "conv.weight": "conv",
        "conv.bias": "bias",
        "up.weight": "conv",
        "norm.weight": "norm",
        "layer_norm.weight": "norm",
        "lstm.weight_ih_l0": "recurrent",
        "lstm.weight_hh_l0_reverse": "recurrent",
        "lstm.bias_ih_l0": "bias",
        "cell.weight_hh": "recurrent",
        "embedding.weight": "embedding",
        "attention.in_proj_weight": "linear",
        "attention.in_proj_bias": "bias",
        "attention.out_proj.weight": "linear",
        "head.0.weight": "linear",
        "own": "linear",
        "token": "other",
    }
    assert {name: kinds[name] for name in expected} == expected
    assert "whole" not in kinds


def test_default_selection_is_by_kind():
    chosen = names(select(Zoo(), (), WEIGHTS))
    assert "conv.weight" in chosen
    assert "lstm.weight_ih_l0_reverse" in chosen
    assert not any(name.startswith(("norm", "layer_norm", "embedding", "token")) or "bias" in name for name in chosen)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("conv.weight", ["conv.weight"]),
        ("conv", ["conv.weight", "conv.bias"]),
        ("head.*", ["head.0.weight", "head.0.bias"]),
        ("*.weight_hh_l?", ["lstm.weight_hh_l0"]),
        ("embedding", ["embedding.weight"]),
    ],
)
def test_patterns_fit_tensors_and_layers(pattern, expected):
    assert names(select(Zoo(), (pattern,), WEIGHTS)) == expected


def test_a_pattern_that_fits_nothing_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"fits no tensor.*'convv\*'.*Did you mean 'conv'"):
        select(Zoo(), ("convv*",), WEIGHTS)


def test_a_model_without_such_weights():
    with pytest.raises(TechniqueError, match=r"no conv, linear, recurrent weights.*leave the step out"):
        select(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), (), WEIGHTS)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_must_be_numbers(bad):
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight.data[0, 0] = bad
    with pytest.raises(TechniqueError, match=r"0\.weight: weights are NaN or infinite \(got 1\)"):
        select(model, (), WEIGHTS)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_empty_layers_are_named():
    with pytest.raises(TechniqueError, match=r"0\.weight: the tensor holds no weights \(got \(3, 0\)\)"):
        select(nn.Sequential(nn.Linear(0, 3)), (), WEIGHTS)


def test_tied_weights_come_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert names(select(model, (), WEIGHTS)) == ["0.weight"]


def test_buffers_that_are_kept():
    found = names(tensors_of(nn.Sequential(nn.BatchNorm1d(3))))
    assert found == ["0.weight", "0.bias", "0.running_mean", "0.running_var"]


def test_the_first_pattern_that_fits_counts():
    weights = select(Zoo(), (), WEIGHTS)
    by_name = {weight.name: weight for weight in weights}
    setting = {"conv": 0.5, "*.weight": 0.25}
    assert value_for(by_name["conv.weight"], setting) == 0.5
    assert value_for(by_name["up.weight"], setting) == 0.25
    assert value_for(by_name["own"], setting) is None
    assert value_for(by_name["own"], 0.125) == 0.125
    pairs = with_values(weights, setting)
    assert [weight.name for weight, _ in pairs] == [
        "conv.weight",
        "up.weight",
        "attention.out_proj.weight",
        "head.0.weight",
    ]
    with pytest.raises(ConfigError, match="fits no tensor"):
        with_values(weights, {"nothing": 0.5})


def test_settings_are_checked():
    check_setting("share", {"a": 0.5}, lambda value: value < 1, "less than 1")
    with pytest.raises(ConfigError, match=r"share\['a'\]: out of range \(got 2\)\. Use less than 1"):
        check_setting("share", {"a": 2}, lambda value: value < 1, "less than 1")
    with pytest.raises(ConfigError, match="names no tensor"):
        check_setting("share", {}, lambda value: value < 1, "less than 1")
