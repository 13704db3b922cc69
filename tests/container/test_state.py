import pytest
import torch
from torch import nn

from featherweight.container.state import tied_tensors
from featherweight.encodings.attach import attach
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.errors import UsageError
from featherweight.graph.plain import Ref, from_plain


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.register_buffer("count", torch.tensor(4))
        self.register_buffer("hidden", torch.ones(3), persistent=False)


def graph_of(*tensors):
    nodes = [[0, Ref(place), Ref(1 + place)] for place in range(len(tensors))]
    return from_plain([[["x", [3]]], len(tensors), ["add"] if tensors else [], nodes, Ref(0)], list(tensors))


def found(model, graph=None):
    return [(tied.name, tied.other_names) for tied in tied_tensors(model, graph)]


def test_without_a_graph_all_of_the_state():
    assert found(Two()) == [("count", ()), ("first.weight", ()), ("second.weight", ())]


def test_with_a_graph_what_it_uses_in_its_order():
    model = Two()
    graph = from_plain(
        [[["x", [3]]], 2, ["add"], [[0, Ref(0), Ref(1)], [0, Ref(3), Ref(2)]], Ref(4)], ["hidden", "first.weight"]
    )
    assert found(model, graph) == [("hidden", ()), ("first.weight", ())]


def test_a_storage_with_two_names_comes_once():
    model = Two()
    model.second.weight = model.first.weight
    assert found(model) == [("count", ()), ("first.weight", ("second.weight",))]
    assert found(model, graph_of("second.weight")) == [("second.weight", ("first.weight",))]


def test_equal_values_views_and_empty_tensors_are_no_ties():
    model = nn.Module()
    whole = torch.arange(6.0)
    for name, tensor in {"a": whole, "b": whole.clone(), "c": whole[:3], "d": whole.view(2, 3)}.items():
        model.register_buffer(name, tensor)
    model.register_buffer("e", torch.zeros(0))
    model.register_buffer("f", torch.zeros(0))
    assert [names for _, names in found(model)] == [()] * 6


def test_the_attached_encoding_with_the_values_of_now():
    model = Two()
    attach(model, {"first.weight": Codebook.of(model.first.weight, torch.tensor([-1.0, 1.0]))})
    model.first.weight.data.mul_(3)
    tensors = {tied.name: tied.encoding() for tied in tied_tensors(model, None)}
    assert isinstance(tensors["first.weight"], Codebook)
    assert torch.equal(tensors["first.weight"].to_tensor(), model.first.weight)
    assert isinstance(tensors["second.weight"], Dense)
    assert tensors["count"].dtype == torch.int64


def test_an_encoding_attached_under_another_name_of_the_tensor_is_found():
    model = Two()
    model.second.weight = model.first.weight
    attach(model, {"first.weight": Codebook.of(model.first.weight, torch.tensor([-1.0, 1.0]))})
    (tied,) = (tied for tied in tied_tensors(model, graph_of("second.weight")))
    assert isinstance(tied.encoding(), Codebook)


def test_a_tensor_that_the_model_lacks():
    with pytest.raises(UsageError, match="lacks"):
        list(tied_tensors(Two(), graph_of("third.weight")))


def test_tensors_without_values():
    with pytest.raises(UsageError, match=r"a.weight: only dense tensors with values.*meta"):
        list(tied_tensors(nn.ModuleDict({"a": nn.Linear(2, 2, device="meta")}), None))


def test_sparse_layouts():
    model = nn.Module()
    model.register_buffer("a", torch.eye(3).to_sparse())
    with pytest.raises(UsageError, match=r"a: only dense tensors.*to_dense"):
        list(tied_tensors(model, None))


def test_state_that_is_no_tensor():
    class Odd(nn.Module):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(UsageError, match="_extra_state: state that is no tensor"):
        list(tied_tensors(nn.Sequential(Odd()), None))
