"""Multiply-adds of each operator against the loops that define it, on graphs made by hand."""

import pytest
import torch

from featherweight.graph import ops
from featherweight.graph.ir import Graph, Meta, Node, Ref, Signature
from featherweight.profiling._counting import _MOVES, _RULES, calculates, multiply_adds


def count(op, shapes, result, *more):
    """Multiply-adds of one node whose first arguments are tensors of these shapes; `more` follow as they are."""
    metas = tuple(Meta(shape, torch.float32) for shape in shapes)
    node = Node(op, (*(Ref(index) for index in range(len(shapes))), *more), meta=Meta(result, torch.float32))
    return multiply_adds(graph(metas, node), node)


def graph(metas, node):
    return Graph(
        inputs=tuple(f"x{index}" for index in range(len(metas))),
        signature=tuple(Signature(meta.shape, meta.dtype) for meta in metas),
        tensors=(),
        nodes=(node,),
        outputs=Ref(len(metas)),
        sizes=metas,
    )


@pytest.mark.parametrize(
    ("op", "shapes", "result", "want"),
    [
        ("conv1d", [(2, 3, 10), (4, 3, 5)], (2, 4, 6), 2 * 4 * 6 * 3 * 5),
        ("conv2d", [(1, 3, 8, 8), (6, 3, 3, 3)], (1, 6, 8, 8), 6 * 64 * 27),
        ("conv2d", [(1, 8, 8, 8), (8, 1, 3, 3)], (1, 8, 8, 8), 8 * 64 * 9),  # depthwise
        ("conv2d", [(1, 8, 8, 8), (16, 4, 1, 1)], (1, 16, 8, 8), 16 * 64 * 4),  # two groups
        ("conv3d", [(1, 2, 4, 4, 4), (3, 2, 2, 2, 2)], (1, 3, 3, 3, 3), 3 * 27 * 16),
        ("conv_transpose2d", [(1, 4, 5, 5), (4, 6, 2, 2)], (1, 6, 10, 10), 4 * 25 * 6 * 4),
        ("linear", [(5, 7, 10), (20, 10)], (5, 7, 20), 35 * 200),
        ("mm", [(3, 4), (4, 5)], (3, 5), 60),
        ("matmul", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 120),
        ("matmul", [(4,), (4,)], (), 4),
        ("matmul", [(6, 3, 4), (4, 5)], (6, 3, 5), 360),
        ("bmm", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 120),
        ("mv", [(3, 4), (4,)], (3,), 12),
        ("dot", [(4,), (4,)], (), 4),
        ("outer", [(3,), (4,)], (3, 4), 12),
        ("addmm", [(5,), (3, 4), (4, 5)], (3, 5), 60),
        ("addmv", [(3,), (3, 4), (4,)], (3,), 12),
        ("baddbmm", [(2, 3, 5), (2, 3, 4), (2, 4, 5)], (2, 3, 5), 120),
        ("addbmm", [(3, 5), (2, 3, 4), (2, 4, 5)], (3, 5), 120),
        ("bilinear", [(2, 3), (2, 4), (5, 3, 4)], (2, 5), 2 * 5 * 3 * (4 + 1)),
        ("scaled_dot_product_attention", [(2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 10)], (2, 4, 6, 10), 8 * 6 * 9 * 18),
        ("lstm_cell", [(3, 5)], (3, 4), None),
    ],
)
def test_products(op, shapes, result, want):
    if want is not None:
        assert count(op, shapes, result) == want


def test_a_general_convolution_knows_which_way_it_goes():
    rest = (None, (2, 2), (0, 0), (1, 1))
    assert count("convolution", [(1, 4, 6, 6), (8, 4, 2, 2)], (1, 8, 3, 3), *rest, False, (0, 0), 1) == 72 * 16
    assert count("convolution", [(1, 4, 6, 6), (4, 8, 2, 2)], (1, 8, 12, 12), *rest, True, (0, 0), 1) == 144 * 32


@pytest.mark.parametrize(
    ("equation", "shapes", "want"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)], 60),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 8), (2, 3, 5, 8)], 2 * 3 * 4 * 5 * 8),
        ("ij,jk", [(3, 4), (4, 5)], 60),
        ("...ij,jk->...ik", [(7, 3, 4), (4, 5)], 420),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        ("ij->ji", [(3, 4)], 0),
        ("bi,bi->b", [(3, 4), (3, 4)], 12),
        ("i,j->ij", [(3,), (4,)], 12),
    ],
)
def test_einsum(equation, shapes, want):
    metas = tuple(Meta(shape, torch.float32) for shape in shapes)
    node = Node("einsum", (equation, tuple(Ref(index) for index in range(len(shapes)))), meta=Meta((), torch.float32))
    assert multiply_adds(graph(metas, node), node) == want


def test_cells_use_both_matrices():
    shapes = [(3, 5), (3, 4), (3, 4), (16, 5), (16, 4)]
    metas = tuple(Meta(shape, torch.float32) for shape in shapes)
    node = Node("lstm_cell", (Ref(0), (Ref(1), Ref(2)), Ref(3), Ref(4)), meta=(Meta((3, 4), torch.float32),) * 2)
    assert multiply_adds(graph(metas, node), node) == 3 * 16 * 9


def test_a_recurrent_layer_uses_every_matrix_at_every_step():
    shapes = [(6, 2, 5), (1, 2, 4), (12, 5), (12, 4), (12,), (12,)]
    metas = tuple(Meta(shape, torch.float32) for shape in shapes)
    node = Node(
        "gru", (Ref(0), Ref(1), tuple(Ref(index) for index in range(2, 6))), meta=(Meta((6, 2, 4), torch.float32),)
    )
    assert multiply_adds(graph(metas, node), node) == 6 * 2 * (12 * 5 + 12 * 4)


def test_every_operator_with_a_rule_or_without_arithmetic_exists():
    known = {name.partition(".")[0] for name in ops.names()}
    assert set(_RULES) <= known
    assert set(_MOVES) - known <= {"view"}


def test_products_of_matrices_have_no_hole():
    """Whatever the list of operators has that multiplies matrices has a rule."""
    names = {name.partition(".")[0] for name in ops.names()}
    products = {name for name in names if name.endswith(("mm", "mv", "mul", "_cell")) or name.startswith("conv")}
    assert products - {"mul", "addcmul", "int_mul"} <= set(_RULES)  # element by element; of sizes


@pytest.mark.parametrize(("op", "want"), [("relu", True), ("batch_norm", True), ("reshape", False), ("int_mul", False)])
def test_what_calculates(op, want):
    assert calculates(Node(op, ())) is want
    assert multiply_adds(graph((), Node(op, ())), Node(op, ())) is None
