"""Expressions: evaluated as Python would, with what they are computed from looked up."""

import pytest

from featherweight.errors import UsageError
from featherweight.graph.origins import Attribute, Constant, Operation, Size, evaluate, sizes_in, with_sizes

HEADS = Attribute("layer.0", "config.heads", None)
WIDTH = Size(3, 2)


def value_of(leaf):
    return {HEADS: 4, WIDTH: 30}[leaf]


@pytest.mark.parametrize(
    ("kind", "left", "right", "expected"),
    [
        ("add", HEADS, WIDTH, 34),
        ("sub", HEADS, WIDTH, -26),
        ("mul", HEADS, Constant(3), 12),
        ("floordiv", Operation("neg", WIDTH, None), HEADS, -8),
        ("mod", Operation("neg", WIDTH, None), HEADS, 2),
    ],
)
def test_arithmetic_is_that_of_python(kind, left, right, expected):
    assert evaluate(Operation(kind, left, right), value_of) == expected


def test_a_division_by_zero_is_a_clear_error():
    with pytest.raises(UsageError, match="division by zero"):
        evaluate(Operation("floordiv", WIDTH, Constant(0)), value_of)


def test_sizes_are_found_and_replaced_wherever_they_stand():
    expr = Operation("mul", Operation("neg", WIDTH, None), Operation("add", HEADS, Size(5, 0)))
    assert sizes_in(expr) == [WIDTH, Size(5, 0)]
    moved = with_sizes(expr, lambda size: Size(size.value + 10, size.dim))
    assert moved == Operation("mul", Operation("neg", Size(13, 2), None), Operation("add", HEADS, Size(15, 0)))
