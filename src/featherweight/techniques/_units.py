"""Which weights read the units of which layer: units are the output neurons of a linear layer or filters of a conv.

Only what can be followed with certainty is listed: from a layer through operators that treat every unit on its own
(activations, pooling, batch norm, flattening) to the layers that read them. A unit that is also added to something,
concatenated, or part of the output is followed no further, and its layer is not listed at all.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import prod

import torch
from torch import Tensor

from featherweight.graph import ops
from featherweight.graph.ir import Graph, Meta, Node, Ref, leaves

_CONVS = ("conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding")
_ELEMENTWISE = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "sigmoid",
        "tanh",
        "softplus",
        "abs",
        "neg",
        "square",
        "exp",
        "contiguous",
        "clone",
        "detach",
        "clamp",
        "clamp_min",
        "clamp_max",
    }
)
_POOLS = [f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg") for axes in (1, 2, 3)]
_SHAPES = ("flatten", "reshape", "view")


@dataclass(frozen=True)
class Reader:
    """A layer that reads the units: `spread` neighbouring columns of its weight belong to each unit.

    `constant(values)` is what arrives of units that are constant, shape (units,); None where a constant does not
    arrive as one (a batch norm, a padded border).
    """

    weight: str
    bias: str | None
    spread: int
    constant: Callable[[Tensor], Tensor] | None


@dataclass(frozen=True)
class Units:
    """The units of a layer: row i of `weight` and element i of `bias` make unit i."""

    weight: str
    bias: str | None
    readers: tuple[Reader, ...]


def units_of(graph: Graph) -> list[Units]:
    """The layers whose units are read by layers only. Weights that are used more than once are left out."""
    walk = _Walk(graph)
    found = []
    for number, node in enumerate(graph.nodes, graph.first_node):
        weight = walk.own_weight(node)
        if weight is not None and isinstance(node.meta, Meta):
            axis = len(node.meta.shape) - 1 if node.op == "linear" else 1
            readers = walk.readers(number, axis, 1, [])
            if readers is not None:
                found.append(Units(weight, walk.name(node.arguments()["bias"]), tuple(readers)))
    return found


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.users = graph, graph.users()
        self.uses = Counter(ref.index for node in graph.nodes for ref in node.refs())
        self.outputs = {ref.index for ref in leaves(graph.outputs)}

    def name(self, value: object) -> str | None:
        """The name of a tensor of the network that only one node reads."""
        if isinstance(value, Ref) and self.uses[value.index] == 1:
            return self.graph.tensor_name(value)
        return None

    def own_weight(self, node: Node) -> str | None:
        """The weight of a linear or ungrouped convolution, when it and its bias belong to this node alone."""
        if node.op != "linear" and node.op not in _CONVS:
            return None
        given = node.arguments()
        if given.get("groups", 1) != 1 or (given["bias"] is not None and self.name(given["bias"]) is None):
            return None
        return self.name(given["weight"])

    def readers(self, value: int, axis: int, spread: int, path: list[Node]) -> list[Reader] | None:
        """The layers that read a value whose units lie along `axis`; None when something else does."""
        if value in self.outputs:
            return None
        found: list[Reader] = []
        for number in self.users.get(value, []):
            node = self.graph.nodes[number - self.graph.first_node]
            reader = self._reader(node, value, axis, spread, path)
            further = None if reader is not None else self._beyond(number, node, value, axis, spread, path)
            if reader is None and further is None:
                return None
            found += [reader] if reader is not None else further or []
        return found

    def _reader(self, node: Node, value: int, axis: int, spread: int, path: list[Node]) -> Reader | None:
        weight = self.own_weight(node)
        shape = self._shape(value)
        if weight is None or shape is None or node.args[0] != Ref(value):
            return None
        last = len(shape) - 1
        if (axis != last) if node.op == "linear" else (axis != 1 or spread != 1):
            return None
        given = node.arguments()
        bordered = node.op != "linear" and given["padding"] not in ("valid", 0) and any(given["padding"])
        return Reader(weight, self.name(given["bias"]), spread, _constant(path, bordered))

    def _beyond(
        self, number: int, node: Node, value: int, axis: int, spread: int, path: list[Node]
    ) -> list[Reader] | None:
        """The readers behind an operator that keeps units apart; None when it does not."""
        before, after = self._shape(value), self._shape(number)
        others = [ref.index for ref in node.refs() if ref.index >= self.graph.first_node or ref.index == value]
        if before is None or after is None or node.args[0] != Ref(value) or others != [value]:
            return None
        keeps = node.op in _ELEMENTWISE or (axis == 1 and (node.op in _POOLS or node.op == "batch_norm"))
        if keeps and after[axis] == before[axis]:
            return self.readers(number, axis, spread, [*path, node])
        flat = len(after) == 2 and after[0] == before[0] and axis == 1 and after[1] == prod(before[1:])
        if node.op in _SHAPES and flat:
            return self.readers(number, 1, spread * prod(before[2:]), path)
        return None

    def _shape(self, value: int) -> tuple[int, ...] | None:
        meta = self.graph.meta(Ref(value))
        return meta.shape if isinstance(meta, Meta) else None


def _constant(path: list[Node], bordered: bool) -> Callable[[Tensor], Tensor] | None:
    """What the operators on the way make of a constant unit; None when the result depends on the place or on data.

    A constant that arrives as zero is no exception to a padded border: that is zero as well.
    """
    if any(node.op == "batch_norm" or (node.op in _POOLS and not _keeps_constants(node)) for node in path):
        return None
    steps = [node for node in path if node.op in _ELEMENTWISE]

    def arrives(values: Tensor) -> Tensor:
        result = reduce(lambda held, node: ops.lookup(node.op).call(held, *node.args[1:]), steps, values)
        return torch.where(result == 0, result, torch.nan) if bordered else result

    return arrives


def _keeps_constants(node: Node) -> bool:
    """Average pooling mixes the zeros of its padding in; the maximum of a constant is the constant."""
    padding = node.arguments().get("padding", 0)
    return not node.op.startswith("avg") or not any(padding if isinstance(padding, tuple) else (padding,))
