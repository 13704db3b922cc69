"""What is left of a network's cost when channels go, computed from its graph alone: parameters and multiply-adds."""

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featherweight.graph._flow_base import Dims
from featherweight.graph._flow_layers import letters
from featherweight.graph.cells import Ids
from featherweight.graph.ir import Node, Ref
from featherweight.graph.structure import Mask, Structure

_CONVS = ("conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding", "convolution")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_INNER = {  # the operand whose last size is summed over
    "linear": "input",
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "aten::_grouped_mm.default"), "self"),
    "addmm": "mat1",
    "addmv": "mat",
    "baddbmm": "batch1",
}
_LAYERS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_CELLS = tuple(f"{name}_cell" for name in _LAYERS)

Sizes: TypeAlias = tuple[Any, ...]
"""One entry for each dimension of a tensor."""


class Cost:
    """The costs of a network as polynomials in the sizes of its dimensions.

    Parameters are the elements of all trained tensors that the graph uses, each counted once. Multiply-adds are those
    of convolutions, linear layers, products of matrices, attention and recurrent layers for the recorded example
    (its batch included), as `profiling` counts them.
    """

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._numbers: dict[bytes, int] = {}
        self._arrays: list[Ids] = []
        graph = structure.flow.graph
        trained = [name for name in structure.tensors if name not in graph.buffers and name not in graph.constants]
        self._parameters = [self._term(1, structure.tensors[name]) for name in trained]
        sizes = {
            name: meta.dtype.itemsize for name, meta in zip(graph.tensors, graph.tensor_metas, strict=True) if meta
        }
        kept = [name for name in structure.tensors if name not in graph.constants]
        self._bytes = [self._term(sizes.get(name, 4), structure.tensors[name]) for name in kept]
        self._macs = [
            self._term(factor, dims)
            for number, node in enumerate(graph.nodes, graph.first_node)
            for factor, dims in products(node, self._dims(Ref(number)), self._dims)
        ]

    def parameters(self, gone: Mask | None = None) -> int:
        """How many trained values are left."""
        return self._sum(self._parameters, gone)

    def bytes(self, gone: Mask | None = None) -> int:
        """How many bytes all tensors of the state dict that the graph uses would take, dense and in their own types."""
        return self._sum(self._bytes, gone)

    def macs(self, gone: Mask | None = None) -> int:
        """How many multiply-adds are left, for the whole recorded batch."""
        return self._sum(self._macs, gone)

    def _sum(self, terms: list[tuple[int, tuple[int, ...]]], gone: Mask | None) -> int:
        sizes = self._sizes(gone)
        return sum(factor * prod(int(sizes[number]) for number in dims) for factor, dims in terms)

    def _sizes(self, gone: Mask | None) -> NDArray[np.int64]:
        if gone is None:
            return np.array([len(ids) for ids in self._arrays], dtype=np.int64)
        return np.array([len(ids) - np.count_nonzero(gone[ids]) for ids in self._arrays], dtype=np.int64)

    def _term(self, factor: int, dims: Dims) -> tuple[int, tuple[int, ...]]:
        """A product of sizes; those that never change go into the factor."""
        numbers = []
        for ids in dims:
            roots = self._structure.flow.cells.find(ids)
            if not roots.any():
                factor *= len(ids)
                continue
            number = self._numbers.setdefault(roots.tobytes(), len(self._arrays))
            if number == len(self._arrays):
                self._arrays.append(roots)
            numbers.append(number)
        return factor, tuple(numbers)

    def _dims(self, value: object) -> Dims:
        dims = self._structure.flow.dims[value.index] if isinstance(value, Ref) else ()
        return dims if isinstance(dims, tuple) else ()


def products(node: Node, out: Sizes, sizes: Callable[[object], Sizes]) -> list[tuple[int, Sizes]]:
    """The products of sizes, each with a factor, whose sum is the number of multiply-adds of a node.

    `out` are the sizes of its result, `sizes(value)` those of the value that a Ref stands for; a size is whatever
    stands for one dimension. The table is that of `profiling`.
    """
    given = node.arguments()
    if node.op in _TRANSPOSED or given.get("transposed"):
        return [(1, (*sizes(given["input"]), *sizes(given["weight"])[1:]))]
    if node.op in _CONVS:
        return [(1, (*out, *sizes(given["weight"])[1:]))]
    if node.op in _INNER:
        return [(1, (*out, sizes(given[_INNER[node.op]])[-1]))]
    if node.op == "addbmm":
        batch, _, inner = sizes(given["batch1"])
        return [(1, (*out, inner, batch))]
    if node.op == "outer":
        return [(1, out)]
    if node.op == "bilinear":
        first, second = sizes(given["input1"])[-1], sizes(given["input2"])[-1]
        return [(1, (*out, first, second)), (1, (*out, first))]
    if node.op == "scaled_dot_product_attention":
        query, key = sizes(given["query"]), sizes(given["key"])
        scores = (*out[:-2], query[-2], key[-2])
        return [(1, (*scores, query[-1])), (1, (*scores, out[-1]))]
    if node.op == "einsum":
        return _einsum(given["equation"], [sizes(item) for item in given["tensors"]])
    return _recurrent(node, sizes)


def _einsum(equation: str, shapes: list[Sizes]) -> list[tuple[int, Sizes]]:
    """Two operands at a time, from left to right: all their indices."""
    terms, output = letters(equation.replace(" ", ""), [len(shape) for shape in shapes])
    size: dict[str, Any] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, held in zip(term, shape, strict=True):
            if letter not in size or _is_one(size[letter]):  # a size of 1 is spread over the other's
                size[letter] = held
    found, current = [], list(dict.fromkeys(terms[0]))
    for position, term in enumerate(terms[1:], 2):
        current = list(dict.fromkeys([*current, *term]))
        found.append((1, tuple(size[letter] for letter in current)))
        later = {letter for other in terms[position:] for letter in other} | set(output)
        current = [letter for letter in current if letter in later]
    return found


def _is_one(size: Any) -> bool:
    return bool(size == 1) if isinstance(size, int) else len(size) == 1


def _recurrent(node: Node, sizes: Callable[[object], Sizes]) -> list[tuple[int, Sizes]]:
    """Every weight matrix once for each step of each sequence."""
    given = node.arguments()
    if node.op in _LAYERS:
        matrices = [sizes(item) for item in given["params"]]
    elif node.op in _CELLS:
        matrices = [sizes(given["w_ih"]), sizes(given["w_hh"])]
    else:
        return []
    return [(1, (*sizes(given["input"])[:-1], *each)) for each in matrices if len(each) == 2]
