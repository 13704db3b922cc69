"""What a run writes down: scopes, tensors by their names, constants, opaque code."""

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.errors import TraceError
from featherweight.graph.record import record

SHARED = torch.tensor([1.0, 2.0, 3.0])


class Model(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.fc, self.code = nn.Linear(3, 3), code
        self.also = self.fc
        self.register_buffer("kept", torch.ones(3))
        self.register_buffer("unkept", torch.full((3,), 2.0), persistent=False)
        self.plain = torch.full((3,), 5.0)

    def forward(self, x):
        return self.code(self, x)


def graph_of(code, *inputs):
    return record(Model(code), inputs or (torch.randn(2, 3),)).graph


def test_tensors_of_all_kinds_have_a_name():
    graph = graph_of(lambda self, x: x * self.kept + self.unkept - self.plain + SHARED * torch.tensor([4.0]) + SHARED)
    assert graph.tensors[:2] == ("kept", "unkept")
    assert graph.buffers == frozenset(graph.tensors)
    assert [graph.constants[name].tolist() for name in graph.tensors[1:]] == [[2] * 3, [5] * 3, [1, 2, 3], [4]]


def test_one_parameter_under_two_names_is_one_tensor():
    graph = graph_of(lambda self, x: self.also(self.fc(x)) + self.also.weight.data.sum())
    assert graph.tensors == ("also.weight", "also.bias")
    assert {node.scope for node in graph.nodes} == {"fc", ""}


def test_modules_made_on_the_way_count_as_part_of_their_caller():
    graph = graph_of(lambda self, x: nn.Sequential(nn.ReLU())(self.fc(x)))
    assert [(node.op, node.scope) for node in graph.nodes] == [("linear", "fc"), ("relu", "")]


def test_inputs_are_named_by_the_arguments_and_each_name_is_new():
    class Many(nn.Module):
        def forward(self, x, x_0=None, *more):
            return x[0] + x_0 + more[0]

    x = torch.ones(2)
    assert record(Many(), ([x], x, x)).graph.inputs == ("x_0", "x_0_", "more_0")


def test_a_literal_that_is_written_to_keeps_its_first_value():
    def code(self, x):
        literal = torch.tensor([1.0, 2.0, 3.0])
        literal[0] = 7
        return x + literal

    graph = graph_of(code)
    assert graph.constants["lifted_tensor_0"].tolist() == [1, 2, 3]
    assert "select_scatter" in [node.op for node in graph.nodes]


@pytest.mark.parametrize("name", ["kept", "plain", "unkept"])
def test_tensors_that_are_kept_between_calls_are_not_written_to(name):
    model = Model(lambda self, x: x + getattr(self, name)[:2].mul_(2)[0])
    before = getattr(model, name).clone()
    with pytest.raises(TraceError, match="while it runs in evaluation mode"):
        record(model, torch.randn(2, 3))
    assert torch.equal(getattr(model, name), before)


class Outside(nn.Module):
    """A layer that computes with numpy."""

    def forward(self, x):
        return torch.from_numpy(np.sin(x.numpy()))


class Hidden(nn.Module):
    """A layer whose result no operator made."""

    def forward(self, x):
        return torch.Tensor._make_subclass(torch.Tensor, RESULT[: x.shape[0]])


RESULT = torch.ones(4, 3)


@pytest.mark.parametrize(("layer", "name"), [(Outside(), "code"), (Hidden(), "Hidden")])
def test_code_that_calls_no_operator_is_one_opaque_node(layer, name):
    graph = record(nn.Sequential(nn.Linear(3, 3), layer, nn.ReLU()), torch.randn(2, 3)).graph
    assert [node.op for node in graph.nodes][-2:] == [f"opaque::{name}", "relu"]
    opaque = graph.nodes[-2]
    assert opaque.scope == "1"
    assert opaque.meta == graph.nodes[-1].meta
    assert [graph.node(ref).op for ref in opaque.refs()][:1] in (["linear"], ["detach"])


def test_random_numbers_are_a_node_of_their_own():
    graph = graph_of(lambda self, x: x + torch.rand(3))
    assert [node.op for node in graph.nodes] == ["aten::rand.default", "add"]


def test_several_results_are_items():
    graph = graph_of(lambda self, x: [item * 2 for item in (*x.topk(2), *x.split([1, 2], dim=1))])
    assert [node.op for node in graph.nodes] == [
        *("topk", "getitem", "getitem", "split_with_sizes", "getitem", "getitem", "mul", "mul", "mul", "mul")
    ]
