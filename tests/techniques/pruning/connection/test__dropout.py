import pytest
from torch import nn

from featherweight.techniques._selection import WEIGHTS, select
from featherweight.techniques.pruning.connection._dropout import dropouts_of


def test_each_dropout_goes_with_the_layer_before_it():
    model = nn.Sequential(
        nn.Dropout(0.1), nn.Linear(4, 8), nn.Dropout(0.5), nn.Dropout(0.0), nn.Linear(8, 4), nn.Dropout2d(0.2)
    )
    found = dropouts_of(model, select(model, (), WEIGHTS))
    assert [(item.probability, item.names) for item in found] == [
        (0.1, ("1.weight",)),
        (0.5, ("1.weight",)),
        (0.2, ("4.weight",)),
    ]


def test_square_root_of_the_connections_left():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5))
    (dropout,) = dropouts_of(model, select(model, (), WEIGHTS))
    dropout.adjust({"0.weight": (0.25, 32)})
    assert model[1].p == pytest.approx(0.25)
    dropout.adjust({"0.weight": (1.0, 32)})
    assert model[1].p == 0.5


def test_recurrent_dropout_counts_all_weights_of_the_module():
    model = nn.Sequential(nn.LSTM(2, 4, num_layers=2, dropout=0.4))
    weights = select(model, (), WEIGHTS)
    (dropout,) = dropouts_of(model, weights)
    assert len(dropout.names) == 4
    share = {weight.name: (0.0, weight.parameter.numel()) for weight in weights}
    share[weights[0].name] = (1.0, weights[0].parameter.numel())
    dropout.adjust(share)
    assert model[0].dropout == pytest.approx(0.4 * (32 / (32 + 64 + 64 + 64)) ** 0.5)
