"""The graph of a network: its inputs, its tensors, the operators between them, its outputs. Plain data, nothing runs.

Every value has a number: first the inputs, then the tensors (weights, buffers, constants), then the results of the
nodes in the order in which they run. A `Ref` is such a number. All operators are functions without side effects
(graph/ops.py), so a graph is a pure description and any order that respects the Refs computes the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from featherweight.graph import ops

Part = TypeVar("Part")


@dataclass(frozen=True)
class Ref:
    """The value with this number, 0 or more."""

    index: int


Arg: TypeAlias = "Ref | bool | int | float | str | torch.dtype | tuple[Arg, ...] | None"
"""An argument of a node: a value, a constant, or a tuple of them."""

Tree: TypeAlias = "Ref | bool | int | float | tuple[Tree, ...] | list[Tree] | dict[str, Tree] | None"
"""What a network gives back: values and constants in nested tuples, lists and dictionaries."""


@dataclass(frozen=True)
class Meta:
    """Shape and element type of a tensor, at the sizes of the example that was traced."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @staticmethod
    def of(tensor: Tensor) -> "Meta":
        """The meta of a real tensor."""
        return Meta(tuple(tensor.shape), tensor.dtype)


NodeMeta: TypeAlias = Meta | int | tuple[Meta, ...] | None
"""What is known of a result: of a tensor, of a size, of several tensors, or nothing."""


@dataclass(frozen=True)
class Signature:
    """What an input must look like; None in `shape` stands for a size that may change from call to call."""

    shape: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Node:
    """One application of an operator.

    `op` is a name of graph/ops.py; in recorded graphs also "namespace::name.overload" for any other operator, and
    "opaque::Class" for code that calls none: such graphs can be looked at, and neither run nor kept. `args` are in
    the order of the operator's parameters, also those that ATen takes by name only; trailing arguments that equal
    their default are left out. `scope` is the path of the module that the node came from ("layer1.0.conv1"), where
    known.
    """

    op: str
    args: tuple[Arg, ...]
    meta: NodeMeta = field(default=None, compare=False)
    scope: str = field(default="", compare=False)

    def arguments(self) -> dict[str, Any]:
        """All arguments by the names of the ATen schema ("input", "weight", "stride", ...), defaults filled in."""
        op = ops.foreign(self.op) if "::" in self.op else ops.lookup(self.op)
        return op.arguments(self.args)

    def refs(self) -> Iterator[Ref]:
        """The values that the node reads, in order, repeated ones repeated."""
        return leaves(self.args)


@dataclass(frozen=True)
class Graph:
    """A network as data.

    `tensors` are names of the state dict, in order of first use; `buffers` those of them that are not trained.
    `constants` holds the values of tensors that no state dict has (literals in the code of the network, buffers that
    are not persistent). `signature`, `sizes` and `tensor_metas` describe inputs and tensors one by one; `sizes` is the
    traced example. `notes` says what a user should know ("the batch is fixed at 4").
    """

    inputs: tuple[str, ...]
    signature: tuple[Signature, ...]
    tensors: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: Tree
    buffers: frozenset[str] = frozenset()
    constants: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    sizes: tuple[Meta | None, ...] = field(default=(), compare=False)
    tensor_metas: tuple[Meta | None, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def first_node(self) -> int:
        """The number of the first node's value."""
        return len(self.inputs) + len(self.tensors)

    def node(self, ref: Ref) -> Node | None:
        """The node that gives a value; None for inputs and tensors."""
        return self.nodes[ref.index - self.first_node] if ref.index >= self.first_node else None

    def tensor_name(self, ref: Ref) -> str | None:
        """The state-dict name of a value; None when it is no tensor of the network."""
        index = ref.index - len(self.inputs)
        return self.tensors[index] if 0 <= index < len(self.tensors) else None

    def meta(self, ref: Ref) -> NodeMeta:
        """What is known of a value at the sizes of the example."""
        node = self.node(ref)
        if node is not None:
            return node.meta
        known = (*(self.sizes or (None,) * len(self.inputs)), *self.tensor_metas)
        return known[ref.index] if ref.index < len(known) else None

    def users(self) -> dict[int, list[int]]:
        """For the number of each value that nodes read: the numbers of those nodes' values, ascending."""
        found: dict[int, list[int]] = {}
        for number, node in enumerate(self.nodes, self.first_node):
            for index in sorted({ref.index for ref in node.refs()}):
                found.setdefault(index, []).append(number)
        return found


def leaves(tree: Any) -> Iterator[Ref]:
    """The Refs of an argument or output tree, in order."""
    return parts_in(tree, Ref)


def parts_in(tree: Any, kind: type[Part]) -> Iterator[Part]:
    """All of one kind in nested tuples, lists and dictionaries, in order."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from parts_in(item, kind)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from parts_in(item, kind)


def map_refs(tree: Any, change: Callable[[Ref], Any]) -> Any:
    """The same tree with each Ref replaced by `change(ref)`."""
    if isinstance(tree, Ref):
        return change(tree)
    if isinstance(tree, tuple | list):
        return type(tree)(map_refs(item, change) for item in tree)
    if isinstance(tree, dict):
        return {key: map_refs(item, change) for key, item in tree.items()}
    return tree
