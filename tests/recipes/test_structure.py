import torch
from torch import nn

from featherweight.recipes.structure import apply_settings, changed, settings_of, structure_of


def test_structure_is_names_types_and_shapes() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert structure_of(model) == structure_of(other)
    assert structure_of(model) != structure_of(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
    assert structure_of(model) != structure_of(nn.Sequential(nn.Linear(3, 2)))
    assert structure_of(model) != structure_of(other.to(torch.float64))


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
