"""Lowering: one form for each thing, nothing that has no effect."""

import torch
from torch import nn
from torch.nn import functional as F

from featherweight.graph.ir import Ref
from featherweight.graph.trace import trace


def lowered(function, *example):
    class Model(nn.Module):
        def forward(self, *inputs):
            return function(*inputs)

    return trace(Model(), example)


def ops_of(graph):
    return [node.op for node in graph.nodes]


X = torch.arange(24.0).reshape(2, 3, 4)


def test_dead_nodes_go():
    assert ops_of(lowered(lambda x: (x.exp().sum(), x + 1)[1], X)) == ["add"]


def test_what_changes_nothing_goes():
    graph = lowered(lambda x: F.dropout(x[:, :, 0:], 0.5, False).clone().contiguous().to(torch.float32) + 1, X)
    assert ops_of(graph) == ["add"] and graph.nodes[0].args == (Ref(0), 1)


def test_a_function_may_give_back_its_input():
    graph = lowered(lambda x: x, X)
    assert graph.nodes == () and graph.outputs == Ref(0)


def test_equal_nodes_become_one():
    graph = lowered(lambda x: x.relu() * x.relu() + x.relu(), X)
    assert ops_of(graph) == ["relu", "mul", "add"]
    assert graph.nodes[1].args == (Ref(1), Ref(1))


def test_one_and_true_and_one_point_zero_are_not_equal():
    graph = lowered(lambda x: (x * 1, x * 1.0, x * True), X)
    assert [node.args[1] for node in graph.nodes] == [1, 1.0, True]
    assert [type(node.args[1]) for node in graph.nodes] == [int, float, bool]


def test_sizes_come_from_the_first_input_just_before_their_use():
    graph = lowered(lambda x, y: (y.relu() + x).view(y.shape[0] * 3, -1).exp(), X, X)
    assert ops_of(graph) == ["relu", "add", "sym_size", "int_mul", "reshape", "exp"]
    assert graph.nodes[2].args == (Ref(0), 0)


def test_in_place_operators_become_functions():
    graph = lowered(lambda x: F.relu(x + 1, inplace=True).mul_(2), X)
    assert ops_of(graph) == ["add", "relu", "mul"]


def test_devices_and_memory_formats_are_dropped():
    graph = lowered(lambda x: x + torch.zeros(4, device="cpu").to("cpu", memory_format=torch.contiguous_format), X)
    assert ops_of(graph) == ["zeros", "add"] and graph.nodes[0].args == ((4,),)


def test_memory_that_is_written_later_begins_as_zeros():
    def filled(x):
        out = torch.empty(2, 4)
        out[:, 0] = 1.0
        out[:, 1:] = 2.0
        return x[0, :2] + out

    assert "zeros" in ops_of(lowered(filled, X[:, :, :]))


def test_copies_before_a_look_at_memory_stay():
    graph = lowered(lambda x: torch.view_as_complex(x.transpose(1, 2)[..., :2].contiguous()).abs(), X)
    assert "contiguous" in ops_of(graph)


def test_gradient_is_still_stopped_where_the_code_stops_it():
    class Stopped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("offset", torch.ones(4))

        def forward(self, x):
            return self.fc(x).detach() + self.offset.detach()

    assert ops_of(trace(Stopped(), X)) == ["linear", "detach", "add"]


def test_constants_of_the_code_are_kept_with_the_graph():
    graph = lowered(lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]), X)
    (name,) = graph.tensors
    assert graph.constants[name].tolist() == [1.0, 2.0, 3.0, 4.0] and graph.buffers == {name}


def test_constant_inputs_become_part_of_the_graph():
    graph = lowered(lambda x, factor, flag: x * factor if flag else x, X, 3, True)
    assert graph.inputs == ("inputs_0",) and graph.nodes[0].args == (Ref(0), 3)


def test_scopes_are_the_paths_of_modules():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
    assert [node.scope for node in trace(model, X).nodes] == ["0.0", "0.1", "1"]
