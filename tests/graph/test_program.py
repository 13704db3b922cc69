"""Running graphs: arguments in their places, memory given back, factories bounded."""

import copy

import pytest
import torch

from featherweight.errors import FormatError
from featherweight.graph.ir import Graph, Node, Ref, Signature
from featherweight.graph.plain import from_plain
from featherweight.graph.program import Template, prepare, tensors_in, values_of

CPU = torch.device("cpu")


def test_a_template_fills_values_into_places_and_lists():
    template = Template.of((Ref(0), 5, (1, Ref(2), None), (3, 4), None))
    assert template.fill(["a", "b", "c"]) == ["a", 5, [1, "c", None], [3, 4], None]
    assert template.fill(["x", "y", "z"]) == ["x", 5, [1, "z", None], [3, 4], None]


def test_values_are_let_go_after_their_last_use():
    nodes = (Node("relu", (Ref(0),)), Node("tanh", (Ref(1),)), Node("exp", (Ref(1),)), Node("neg", (Ref(3),)))
    graph = Graph(("x",), (Signature((2,), torch.float32),), (), nodes, (Ref(2), Ref(4)))
    values = prepare(graph).run([torch.ones(2)], CPU)
    assert [index for index, value in enumerate(values) if value is None] == [0, 1, 3]
    torch.testing.assert_close(values[4], -torch.ones(2).exp())


def test_a_result_that_nobody_reads_is_let_go_at_once():
    graph = Graph(("x",), (Signature((2,), torch.float32),), (), (Node("relu", (Ref(0),)),), None)
    assert prepare(graph).run([torch.ones(2)], CPU) == [None, None]


def test_arguments_by_name_reach_their_operator():
    graph = from_plain([[["x", [2, 3]]], [], ["var"], [[0, Ref(0), [1], 0, True]], Ref(1)])
    x = torch.randn(2, 3)
    torch.testing.assert_close(prepare(graph).run([x], CPU)[1], x.var(1, correction=0, keepdim=True))


def test_copies_share_the_program():
    program = prepare(Graph((), (), (), (), None))
    assert copy.deepcopy(program) is program


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("zeros", [[2**20, 2**20]]),
        ("ones", [[2**40]]),
        ("full", [[2**62, 2**62], 1.0]),
        ("new_zeros", [Ref(0), [2**40]]),
        ("new_full", [Ref(0), [2**40], 0]),
        ("arange", [2**40]),
        ("arange.start", [-(2**40), 0]),
        ("arange.start_step", [0, 1, 1e-12]),
        ("arange.start_step", [0, 1, 0]),
        ("arange", ["nan"]),
        ("arange", ["inf"]),
        ("linspace", [0, 1, 2**40]),
        ("eye", [2**20]),
        ("eye.m", [1, 2**40]),
    ],
)
def test_a_factory_cannot_ask_for_more_than_the_bound(op, args):
    graph = from_plain([[["x", [1]]], [], [op], [[0, *args]], Ref(1)])
    with pytest.raises(FormatError, match=r"asks for more than 2\^28 elements") as caught:
        prepare(graph).run([torch.zeros(1)], CPU)
    assert caught.value.code == "E_GRAPH"


@pytest.mark.parametrize(
    ("op", "args", "expected"),
    [
        ("arange.start_step", [4, 0, -2], [4, 2]),
        ("eye.m", [1, 2], [[1.0, 0.0]]),
        ("linspace", [0, 1, 3], [0.0, 0.5, 1.0]),
        ("full", [[0], 1.0], []),
        ("scalar_tensor", [2], 2.0),
    ],
)
def test_factories_within_the_bound_run(op, args, expected):
    graph = from_plain([[], [], [op], [[0, *args]], Ref(0)])
    assert prepare(graph).run([], CPU)[0].tolist() == expected


def test_outputs_keep_their_structure():
    values = [torch.zeros(1), torch.ones(1)]
    tree = values_of({"a": (Ref(0), [Ref(1)]), "b": None, "c": 3}, values)
    assert tree == {"a": (values[0], [values[1]]), "b": None, "c": 3}
    assert [item.item() for item in tensors_in(tree)] == [0.0, 1.0]
