"""Shapes without data: equal to those of the trace, and the last check of a graph out of a file."""

import pytest
import torch

from featherweight.errors import FormatError
from featherweight.graph.ir import Meta, Ref
from featherweight.graph.module import to_module
from featherweight.graph.plain import from_plain, to_plain
from featherweight.graph.shapes import annotated


def test_shapes_are_those_of_the_trace(zoo):
    known = {**zoo.graph.constants, **zoo.again.state_dict()}
    found = annotated(from_plain(to_plain(zoo.graph)), known)
    assert len(found.sizes) == len(zoo.graph.sizes) and found.tensor_metas == zoo.graph.tensor_metas
    with torch.no_grad():
        values = to_module(found, known)(*(torch.ones(size.shape).to(size.dtype) for size in found.sizes))
    outputs = [item for item in torch.utils._pytree.tree_leaves(values) if isinstance(item, torch.Tensor)]
    refs = [item for item in torch.utils._pytree.tree_leaves(found.outputs) if isinstance(item, Ref)]
    assert [found.meta(ref) for ref in refs] == [Meta.of(item) for item in outputs]


def load(inputs, tensors, ops, nodes, outputs):
    values = {name: torch.zeros(shape) for name, shape in tensors.items()}
    return to_module(from_plain([inputs, list(tensors), ops, nodes, outputs]), values)


def test_a_batch_of_two_is_taken_where_one_cannot_run():
    nodes = [[0, Ref(0)], [1, Ref(2), Ref(1)]]
    model = load([["x", [None, 3]]], {"w": (3, 2)}, ["squeeze.default", "mm"], nodes, Ref(3))
    assert model.graph.sizes == (Meta((2, 3), torch.float32),)
    assert model(torch.ones(2, 3)).shape == (2, 2)


HOSTILE = {
    "shapes do not fit": ([["x", [2, 3]]], {"w": (4, 5)}, ["linear"], [[0, Ref(0), Ref(1)]]),
    "a size that is no shape": ([["x", [2, 3]]], {}, ["reshape"], [[0, Ref(0), [7]]]),
    "an axis that is not there": ([["x", [2, 3]]], {}, ["select"], [[0, Ref(0), 5, 0]]),
    "division by zero": ([["x", [2, 0]]], {}, ["sym_size", "int_floordiv"], [[0, Ref(0), 1], [1, 3, Ref(1)]]),
    "a text that means nothing": ([["x", [2, 3]]], {}, ["einsum"], [[0, "->?", [Ref(0)]]]),
    "a shape that depends on data": ([["x", [2, 3], "bool"]], {}, ["index"], [[0, Ref(0), [Ref(0)]]]),
    "too few recurrent states": ([["x", [2, 3, 4]]], {}, ["lstm"], [[0, Ref(0), [], []]]),
}


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE)
def test_arguments_that_do_not_fit_are_refused_at_loading(parts):
    with pytest.raises(FormatError) as caught:
        load(*parts, None)
    assert caught.value.code == "E_SHAPE"


def test_an_input_beyond_the_bound_is_refused():
    with pytest.raises(FormatError, match=r"input has more than 2\^31 elements"):
        load([["x", [2**20, 2**20]]], {}, ["relu"], [[0, Ref(0)]], Ref(1))


def test_growth_is_bounded():
    """A few hundred bytes that would ask for 2^40 elements: by doubling, by broadcasting, by padding."""
    doubling = [[0, [Ref(index), Ref(index)]] for index in range(40)]
    with pytest.raises(FormatError, match=r"cat gives more than 2\^31 elements"):
        load([["x", [1]]], {}, ["cat"], doubling, Ref(40))
    with pytest.raises(FormatError, match=r"add gives more than 2\^31 elements"):
        load([["x", [2**20, 1]], ["y", [1, 2**20]]], {}, ["add"], [[0, Ref(0), Ref(1)]], Ref(2))
    with pytest.raises(FormatError, match=r"pad gives more than 2\^31 elements"):
        load([["x", [1]]], {}, ["pad"], [[0, Ref(0), [2**40, 0]]], Ref(1))


@pytest.mark.parametrize(
    ("op", "args"),
    [("unbind", []), ("split", [1]), ("chunk", [2**30]), ("unsafe_chunk", [2**30]), ("tensor_split", [2**30])],
)
def test_the_number_of_parts_is_bounded(op, args):
    with pytest.raises(FormatError, match="makes more than 65536 parts"):
        load([["x", [2**24]]], {}, [op], [[0, Ref(0), *args]], None)


def test_a_long_sequence_costs_no_time_to_check():
    """ATen would walk over every one of the 2^24 steps."""
    weights = {"h": (1, 1, 4), "wi": (16, 3), "wh": (16, 4)}
    nodes = [[0, Ref(0), [Ref(1), Ref(1)], [Ref(2), Ref(3)], False, 1, False, True]]
    model = load([["x", [1, 2**24, 3]]], weights, ["lstm"], nodes, None)
    assert model.graph.nodes[0].meta[0] == Meta((1, 2**24, 4), torch.float32)
