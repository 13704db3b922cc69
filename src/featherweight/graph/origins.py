"""Where an integer in a graph came from: a module's attribute, the size of a tensor, or arithmetic on them.

A graph holds plain numbers (`reshape` to (2, 4, 8)). When channels are removed some of them must change, and with them
the attribute that the network's code computes them from (`num_heads`). An `Expr` says which one that is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from featherweight.errors import UsageError


@dataclass(frozen=True)
class Place:
    """One integer in the arguments of a node.

    `value` is the number of the node's value as in `Ref.index`, `parameter` a name of the ATen schema as in
    `Node.arguments()`, `position` the index inside of a list argument (None: the argument is no list).
    """

    value: int
    parameter: str
    position: int | None


@dataclass(frozen=True)
class Attribute:
    """An integer attribute of the module at `path` ("" is the model itself).

    `name` may lead through plain objects ("config.num_heads"); `position` is the index where it is a tuple or list.
    """

    path: str
    name: str
    position: int | None


@dataclass(frozen=True)
class Size:
    """The size of a value (its number as in `Ref.index`) along a dimension, 0 or more."""

    value: int
    dim: int


@dataclass(frozen=True)
class Constant:
    """A number in the network's code."""

    value: int


Kind: TypeAlias = Literal["add", "sub", "mul", "floordiv", "mod", "neg"]


@dataclass(frozen=True)
class Operation:
    """Arithmetic as Python does it; `right` is None for "neg"."""

    kind: Kind
    left: "Expr"
    right: "Expr | None"


Expr: TypeAlias = Attribute | Size | Constant | Operation

ARITHMETIC: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": int.__add__,
    "sub": int.__sub__,
    "mul": int.__mul__,
    "floordiv": int.__floordiv__,
    "mod": int.__mod__,
}


def evaluate(expr: Expr, lookup: Callable[[Attribute | Size], int]) -> int:
    """The value of an expression, where `lookup` gives those of attributes and sizes.

    Raises: UsageError for a division by zero, which other values than the recorded ones may lead to.
    """
    if isinstance(expr, Constant):
        return expr.value
    if isinstance(expr, Attribute | Size):
        return lookup(expr)
    left = evaluate(expr.left, lookup)
    if expr.right is None:
        return -left
    right = evaluate(expr.right, lookup)
    if right == 0 and expr.kind in ("floordiv", "mod"):
        raise UsageError("a size of the network is computed by a division by zero", value=expr)
    return ARITHMETIC[expr.kind](left, right)


def sizes_in(expr: Expr) -> list[Size]:
    """The sizes that an expression is computed from, in order."""
    if isinstance(expr, Operation):
        return sizes_in(expr.left) + ([] if expr.right is None else sizes_in(expr.right))
    return [expr] if isinstance(expr, Size) else []


def with_sizes(expr: Expr, change: Callable[[Size], Size]) -> Expr:
    """The same expression with each size replaced."""
    if isinstance(expr, Operation):
        right = None if expr.right is None else with_sizes(expr.right, change)
        return Operation(expr.kind, with_sizes(expr.left, change), right)
    return change(expr) if isinstance(expr, Size) else expr
