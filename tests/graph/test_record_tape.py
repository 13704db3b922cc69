"""From the tape to the graph: only what is needed, numbered as graphs are, origins that hold."""

import torch
from torch import nn

from featherweight.graph._record_calls import called
from featherweight.graph._record_named import Named
from featherweight.graph._record_places import pending_of
from featherweight.graph._record_tape import Tape, finished
from featherweight.graph.ir import Ref
from featherweight.graph.origins import Attribute, Place, Size
from featherweight.graph.record import record

WIDTH = Attribute("", "width", None)
aten = torch.ops.aten


def test_what_no_output_needs_is_left_out():
    tape = Tape(frozenset({"w"}))
    x, w = tape.input(torch.zeros(2), "x"), tape.tensor(torch.zeros(2), "w")
    unused = tape.tensor(torch.zeros(3), "v")
    tape.operate(called(aten.relu.default), {"self": unused}, torch.zeros(3), "", None)
    total = tape.operate(called(aten.add.Tensor), {"self": x, "other": w}, torch.zeros(2), "a.b", None)
    graph, origins, _ = finished(tape, {"y": (total, None)}, {})
    assert (graph.inputs, graph.tensors, graph.outputs) == (("x",), ("w",), {"y": (Ref(2), None)})
    assert [(node.op, node.args, node.scope) for node in graph.nodes] == [("add", (Ref(0), Ref(1)), "a.b")]
    assert (graph.buffers, origins) == (frozenset(), {})


def shaped(expr, attributes):
    """The origins of a reshape to (2, 3) whose first size came from `expr`; the tape's input has two rows."""
    tape = Tape(frozenset())
    x = tape.input(torch.zeros(2, 3, 1), "x")
    expr = Size(x.serial, 0) if expr == "rows" else expr
    pending = pending_of((None, Named(2, expr), 3), {})
    y = tape.operate(called(aten.view.default), {"self": x, "size": [2, 3]}, torch.zeros(2, 3), "", pending)
    return finished(tape, y, attributes)[1]


def test_origins_are_in_the_numbers_of_the_graph():
    assert shaped("rows", {}) == {Place(1, "shape", 0): Size(0, 0)}
    assert shaped(WIDTH, {WIDTH: 2}) == {Place(1, "shape", 0): WIDTH}


def test_origins_that_do_not_hold_are_left_out():
    assert shaped(WIDTH, {WIDTH: 3}) == {}
    assert shaped(WIDTH, {}) == {}
    assert shaped(Size(-5, 0), {}) == {}


def test_values_whose_sizes_are_origins_stay_in_the_graph():
    class Model(nn.Module):
        def forward(self, x):
            side = (x[:, ::2] * 2).relu()
            return x.view(x.shape[0] // side.shape[0], side.shape[0], -1)

    graph, origins = record(Model(), torch.randn(4, 6)).graph, record(Model(), torch.randn(4, 6)).origins
    assert [node.op for node in graph.nodes] == ["slice", "mul", "relu", "reshape"]
    assert origins[Place(4, "shape", 1)] == Size(3, 0)
