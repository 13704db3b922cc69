"""What a rule of channel flow works with: the cells of a node's arguments, and the words to say how they go on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np

from featherweight.graph.cells import Cells, Ids
from featherweight.graph.ir import Graph, Meta, Node, Ref

Dims: TypeAlias = tuple[Ids, ...]
"""The cells of a tensor: one array for each dimension."""

Result: TypeAlias = "Dims | list[Dims] | None"
"""What a rule gives: the cells of the result, of each of several results, or None for numbers."""


@dataclass(frozen=True)
class Count:
    """An integer in a node's arguments that is a number of channels: as many as cells of `ids` are left.

    `value` is the number of the node's value; `position` is the place in a list, None for a single integer. `sign` is
    -1 where the integer counts from the end.
    """

    value: int
    parameter: str
    position: int | None
    ids: Ids
    sign: int = 1


@dataclass
class State:
    """What is known while flow goes through a graph."""

    graph: Graph
    cells: Cells
    dims: dict[int, Result]
    counts: list[Count] = field(default_factory=list)
    roles: dict[tuple[str, int], str] = field(default_factory=dict)
    columns: set[tuple[str, int]] = field(default_factory=set)  # what some layer reads its inputs by, tied weights too
    barriers: list[tuple[str, str]] = field(default_factory=list)  # operator, module path
    ranges: dict[str, list[tuple[Ids, Ids]]] = field(default_factory=dict)  # of a tensor: what was there, what is read
    numbers: Mapping[str, Ids] = field(default_factory=dict)  # the network's own rows of integers
    picks: dict[str, Ids] = field(default_factory=dict)  # of those that follow: the places that they pick from

    @cached_property
    def users(self) -> dict[int, list[int]]:
        """Which nodes read a value."""
        return self.graph.users()


class Site:
    """One node, for the rule of its operator."""

    def __init__(self, state: State, number: int, node: Node) -> None:
        self.state, self.number, self.node = state, number, node
        self.cells = state.cells

    @cached_property
    def given(self) -> dict[str, Any]:
        """The arguments by name, defaults filled in."""
        return self.node.arguments()

    @property
    def place(self) -> str:
        """Where the node is, for people."""
        return self.node.scope or "the network itself"

    def dims(self, value: Any) -> Dims:
        """The cells of an argument that is a tensor."""
        found = self.state.dims[value.index]
        return found if isinstance(found, tuple) else ()

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """The sizes."""
        return tuple(len(ids) for ids in dims)

    def out_shape(self) -> tuple[int, ...]:
        """The shape of the result, of the first one where there are several."""
        meta = self.node.meta[0] if isinstance(self.node.meta, tuple) else self.node.meta
        return meta.shape if isinstance(meta, Meta) else ()

    def unite(self, left: Ids, right: Ids) -> None:
        """These go together, index by index."""
        self.cells.unite(left, right)

    def pin(self, ids: Ids, why: str) -> None:
        """None of these can go."""
        self.cells.pin(ids, f"{why} ({self.node.op} in {self.place})")

    def count(self, parameter: str, position: int | None, ids: Ids, sign: int = 1) -> None:
        """The integer at this place of the arguments counts the cells of `ids`; one that is computed cannot follow."""
        value = self.given[parameter]
        if isinstance(value if position is None else value[position], Ref):
            self.pin(ids, "its size is computed while the network runs")
            return
        self.state.counts.append(Count(self.number, parameter, position, ids, sign))

    def role(self, value: Any, *roles: str) -> None:
        """What the dimensions of a tensor of the network mean: "out", "in", "each" or "" for neither.

        Dimensions that were only turned or cut since (`x @ weight.t()`) are followed back to the tensor.
        """
        here, source = self.dims(value) if isinstance(value, Ref) else (), self._source(value)
        if source is None:
            return
        name = str(self.state.graph.tensor_name(source))
        for dim, ids in enumerate(self.dims(source)):
            role = next((role for role, own in zip(roles, here, strict=False) if np.may_share_memory(own, ids)), "")
            if role:
                self.state.roles.setdefault((name, dim), role)
            if role == "in":
                self.state.columns.add((name, dim))

    def read_range(self, value: Any, ids: Ids, read: Ids) -> None:
        """Of this dimension of a value only a range is read. If no other range of a tensor has the rest, it stays:
        other inputs than the example may need it, as longer sequences do positions."""
        source = self._source(value)
        if source is not None:
            name = str(self.state.graph.tensor_name(source))
            self.state.ranges.setdefault(name, []).append((ids, read))

    def _source(self, value: Any) -> Ref | None:
        """The tensor of the network that a value was made from, by nothing else."""
        while isinstance(value, Ref) and (node := self.state.graph.node(value)) is not None:
            sources = list(node.refs())
            value = sources[0] if len(sources) == 1 else None
        return value if isinstance(value, Ref) and self.state.graph.tensor_name(value) is not None else None

    def barrier(self) -> Result:
        """Nothing that touches this node may change."""
        self.state.counts = [count for count in self.state.counts if count.value != self.number]
        read = [ids for ref in self.node.refs() for dims in _each(self.state.dims[ref.index]) for ids in dims]
        if any(self.cells.find(ids).any() for ids in read):
            self.state.barriers.append((self.node.op, self.node.scope))
        for ids in read:
            self.pin(ids, "an operator without a rule reads it")
        return self.fixed()

    def fixed(self) -> Result:
        """A result of which nothing can go."""
        if isinstance(self.node.meta, tuple):
            return [pinned(item.shape) for item in self.node.meta]
        return pinned(self.node.meta.shape) if isinstance(self.node.meta, Meta) else None


Rule: TypeAlias = Callable[[Site], Result]
RULES: Final[dict[str, Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Makes a function the rule of these operators (names of graph/ops.py, or "namespace::name.overload").

    The one thing that a package outside has to do so that channels flow through an operator of its own.
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def pinned(shape: Sequence[int]) -> Dims:
    """Cells of a tensor of which nothing can go."""
    return tuple(np.zeros(size, dtype=np.int64) for size in shape)


def _each(result: Result) -> list[Dims]:
    if result is None:
        return []
    return result if isinstance(result, list) else [result]


def axis(dim: int, dims: Sequence[Any]) -> int:
    """A dimension counted from the front."""
    return dim + len(dims) if dim < 0 else dim


def replaced(dims: Dims, dim: int, *ids: Ids) -> Dims:
    """The dims with one of them replaced by these (none: left out)."""
    dim = axis(dim, dims)
    return (*dims[:dim], *ids, *dims[dim + 1 :])
