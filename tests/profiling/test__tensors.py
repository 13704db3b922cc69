"""Each stored tensor comes once, under its first name, with its layer."""

import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.sparse import Sparse
from featherweight.profiling._tensors import batch_size, by_layer, stored_tensors


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(9), persistent=False)


def test_shared_tensors_come_once_and_scratch_buffers_not_at_all():
    found = {item.name: item for item in stored_tensors(Tied())}
    assert sorted(found) == ["first.weight", "scale", "seen"]
    assert found["first.weight"].layer == "first"
    assert found["scale"].layer == ""
    assert not found["seen"].is_parameter


def test_attached_encodings_come_along():
    model = nn.Linear(3, 2)
    attach(model, {"weight": Sparse.of(model.weight, model.weight > 0)})
    found = {item.name: item.encoding for item in stored_tensors(model)}
    assert isinstance(found["weight"], Sparse)
    assert found["bias"] is None


def test_sums_keep_the_order_of_layers():
    assert list(by_layer([("b", 1), ("a", 2), ("b", 3)]).items()) == [("b", 4), ("a", 2)]


def test_the_batch_is_the_first_size_of_the_first_tensor():
    assert batch_size((3, torch.zeros(5, 2), torch.zeros(7))) == 5
    assert batch_size((torch.tensor(1.0),)) == batch_size(()) == 1
