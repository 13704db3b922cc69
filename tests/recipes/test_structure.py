import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.errors import TechniqueError
from featherweight.graph.log import Cut, Log, Removal, keep_log, replay, sketch
from featherweight.recipes.structure import apply_settings, changed, regrown, settings_of, settle, structure_of


def test_structure_is_names_types_and_shapes() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert structure_of(model) == structure_of(other)
    assert structure_of(model) != structure_of(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
    assert structure_of(model) != structure_of(nn.Sequential(nn.Linear(3, 2)))
    assert structure_of(model) != structure_of(other.to(torch.float64))


def test_a_structure_is_grown_again_by_its_log_or_not_at_all() -> None:
    origin = sketch(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    log = Log((Removal({"0.weight": (Cut.of(0, 4, [2]),), "0.bias": (Cut.of(0, 4, [2]),)}),))
    model = replay(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), log)
    again = regrown(origin, model)
    assert again is not None
    assert structure_of(again) == structure_of(model)
    assert structure_of(origin) != structure_of(model)
    keep_log(model, Log())
    assert regrown(origin, model) is None
    keep_log(model, Log((Removal({"9.weight": (Cut.of(0, 4, [2]),)}),)))
    assert regrown(origin, model) is None


def test_a_module_of_another_class_is_another_structure() -> None:
    assert structure_of(nn.Sequential(nn.ReLU())) != structure_of(nn.Sequential(nn.Tanh()))


def test_changed_settings_are_put_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.LSTM(2, 2, num_layers=2, dropout=0.3), nn.Linear(2, 2))
    before = settings_of(model)
    model[0].p, model[1].dropout = 0.2, 0.1
    model.eval()  # the mode is no setting
    notes = changed(before, settings_of(model))
    assert notes == {"0": {"p": 0.2}, "1": {"dropout": 0.1}}
    fresh = nn.Sequential(nn.Dropout(0.5), nn.LSTM(2, 2, num_layers=2, dropout=0.3), nn.Linear(2, 2))
    apply_settings(fresh, notes)
    assert settings_of(fresh) == settings_of(model)


def test_settled_weights_are_what_the_encodings_hold() -> None:
    model = nn.Linear(4, 3)
    attach(model, {"weight": Codebook.of(model.weight.detach(), torch.tensor([-0.2, 0.1, 0.3]))})
    attach(model, {"bias": Dense(model.bias.detach().clone(), torch.float16)})
    with torch.no_grad():
        model.weight.add_(torch.randn(3, 4) * 1e-3)
        model.bias.add_(1e-5)
    settle(model)
    assert len(model.weight.unique()) <= 3
    assert torch.equal(model.bias, model.bias.half().float())


def test_an_encoding_without_its_tensor_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    attach(model, {"0.weight": Dense(model[0].weight.detach().clone())})
    model[0] = nn.Identity()
    with pytest.raises(TechniqueError, match=r"0\.weight"):
        settle(model)
