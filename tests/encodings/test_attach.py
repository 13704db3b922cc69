import copy

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach, detach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import EncodingError


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def test_the_weights_become_what_the_encoding_holds(model):
    weight = model[0].weight.detach().clone()
    mask = weight.abs() > 0.2
    attach(model, {"0.weight": Sparse.of(weight, mask), "1.running_mean": Dense(torch.ones(3))})
    assert torch.equal(model[0].weight, torch.where(mask, weight, 0))
    assert torch.equal(model[1].running_mean, torch.ones(3))
    assert isinstance(model[0].weight, nn.Parameter)


def test_encodings_tell_the_values_of_now(model):
    attach(model, {"0.weight": Codebook.of(model[0].weight, torch.tensor([-0.3, 0.3]))})
    with torch.no_grad():
        model[0].weight.mul_(2)
    found = encodings_of(model)["0.weight"]
    assert torch.equal(found.to_tensor(), model[0].weight)
    with torch.no_grad():
        model[0].weight.zero_()
    assert found.to_tensor().any()  # a copy: later training does not reach it


def test_they_travel_with_a_copy(model):
    attach(model, {"0.bias": Dense(torch.zeros(3), torch.float16)})
    other = copy.deepcopy(model)
    detach(model)
    assert encodings_of(model) == {}
    assert list(encodings_of(other)) == ["0.bias"]


def test_detach_by_name(model):
    attach(model, {"0.bias": Dense(torch.ones(3)), "0.weight": Dense(torch.zeros(3, 4))})
    detach(model, {"0.bias"})
    assert list(encodings_of(model)) == ["0.weight"]
    assert torch.equal(model[0].bias, torch.ones(3))


def test_what_does_not_fit(model):
    with pytest.raises(EncodingError, match="no parameter or buffer"):
        attach(model, {"0.weigth": Dense(torch.zeros(3, 4))})
    with pytest.raises(EncodingError, match="shape differs"):
        attach(model, {"0.weight": Dense(torch.zeros(4, 3))})
