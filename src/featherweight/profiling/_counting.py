"""Multiply-adds of one operator, from its arguments and shapes: the published table of what is counted.

| operators | multiply-adds |
|---|---|
| conv1d/2d/3d (also grouped and depthwise) | results x (input channels of a group) x kernel places |
| conv_transpose1d/2d/3d | inputs x (output channels of a group) x kernel places |
| linear, matmul, mm, bmm, mv, dot, addmm, addmv, baddbmm, addbmm | results x inner size (addbmm: x batch) |
| outer | results |
| bilinear | results x first inputs x (second inputs + 1) |
| einsum | two operands at a time, left to right: product of the sizes of all their indices |
| scaled_dot_product_attention | queries x keys x (key size + value size), for each head |
| lstm, gru, rnn_tanh, rnn_relu and their cells | steps x size of every weight matrix |

Places in the padding count as if they were inside. Element-wise operators, normalisation, pooling and reductions are
no multiply-adds; those that calculate are listed as not counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from featherweight.graph.ir import Graph, Meta, Node, Ref

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Application:
    """One node with the shapes that its arguments have."""

    node: Node
    graph: Graph
    arguments: Mapping[str, Any]

    def shape(self, name: str) -> Shape:
        """Shape of a tensor argument; () when it is unknown or absent."""
        return self.shape_of(self.arguments.get(name))

    def shape_of(self, value: Any) -> Shape:
        """Shape of what an argument refers to."""
        meta = self.graph.meta(value) if isinstance(value, Ref) else None
        return meta.shape if isinstance(meta, Meta) else ()

    def shapes(self, name: str) -> list[Shape]:
        """Shapes of the tensors in a listed argument."""
        return [self.shape_of(item) for item in self.arguments.get(name) or ()]

    @property
    def result(self) -> Shape:
        """Shape of the (first) result."""
        meta = self.node.meta[0] if isinstance(self.node.meta, tuple) and self.node.meta else self.node.meta
        return meta.shape if isinstance(meta, Meta) else ()


def multiply_adds(graph: Graph, node: Node) -> int | None:
    """How many multiply-adds the node does at the sizes of the traced example; None for operators without a rule."""
    rule = _RULES.get(stem(node))
    return None if rule is None else rule(Application(node, graph, node.arguments()))


def calculates(node: Node) -> bool:
    """Whether a node without a rule calculates anything (and so is worth naming), or just moves data around."""
    return stem(node) not in _MOVES and not node.op.startswith("int_")


def stem(node: Node) -> str:
    """The operator without its overload."""
    return node.op.partition(".")[0]


def _convolution(this: Application) -> int:
    weight = this.shape("weight")
    transposed = bool(this.arguments.get("transposed"))
    return prod(this.shape("input") if transposed else this.result) * prod(weight[1:])


def _transposed_convolution(this: Application) -> int:
    return prod(this.shape("input")) * prod(this.shape("weight")[1:])


def _inner(first: str) -> Callable[[Application], int]:
    """Products of matrices and vectors: results times the last size of the operand called `first`."""
    return lambda this: prod(this.result) * this.shape(first)[-1]


def _summed_batches(this: Application) -> int:
    return prod(this.result) * this.shape("batch1")[-1] * this.shape("batch1")[0]


def _bilinear(this: Application) -> int:
    return prod(this.result) * this.shape("input1")[-1] * (this.shape("input2")[-1] + 1)


def _attention(this: Application) -> int:
    query, key = this.shape("query"), this.shape("key")
    heads = prod(this.result[:-2])
    return heads * query[-2] * key[-2] * (query[-1] + this.shape("value")[-1])


def _recurrent(this: Application) -> int:
    steps = prod(this.shape("input")[:-1])
    return steps * sum(prod(shape) for shape in this.shapes("params") if len(shape) == 2)


def _cell(this: Application) -> int:
    return prod(this.shape("input")[:-1]) * (prod(this.shape("w_ih")) + prod(this.shape("w_hh")))


def _einsum(this: Application) -> int:
    shapes = this.shapes("tensors")
    left, _, right = str(this.arguments["equation"]).replace(" ", "").partition("->")
    terms = [_indices(term, len(shape)) for term, shape in zip(left.split(","), shapes, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))  # a size of 1 is spread over the other's
    every = [index for term in terms for index in term]
    if "->" in str(this.arguments["equation"]):
        wanted = {index for index in every if index.startswith(".")} | set(right.replace(".", ""))
    else:
        wanted = {index for index in every if every.count(index) == 1 or index.startswith(".")}
    total, current = 0, set(terms[0])
    for position, term in enumerate(terms[1:], 1):
        total += prod(sizes[index] for index in current | set(term))
        later = wanted.union(*terms[position + 1 :])
        current = (current | set(term)) & later
    return total


def _indices(term: str, rank: int) -> list[str]:
    """Names of the axes of one operand; those that "..." stands for are numbered from the right: ".1" is the last."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f".{number}" for number in range(hidden, 0, -1)), *after]


_RULES: Final[dict[str, Callable[[Application], int]]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    "linear": _inner("input"),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _inner("self")),
    "outer": lambda this: prod(this.result),
    "addmm": _inner("mat1"),
    "addmv": _inner("mat"),
    "baddbmm": _inner("batch1"),
    "addbmm": _summed_batches,
    "bilinear": _bilinear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
}

_MOVE_NAMES: Final = """
reshape reshape_as view flatten unflatten ravel transpose t permute numpy_T mT movedim swapaxes squeeze unsqueeze
expand expand_as broadcast_to select slice narrow split split_with_sizes chunk unsafe_split unsafe_chunk unbind
tensor_split cat stack concat hstack vstack repeat tile repeat_interleave roll flip rot90 unfold diagonal
diag_embed meshgrid broadcast_tensors atleast_1d atleast_2d index index_select gather take_along_dim contiguous
clone detach to type_as pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
zeros ones full arange linspace eye scalar_tensor zeros_like ones_like full_like new_zeros new_ones new_full fill
sym_size getitem embedding pixel_shuffle pixel_unshuffle channel_shuffle im2col tril triu
view_as_complex view_as_real real imag complex slice_scatter select_scatter diagonal_scatter index_copy one_hot
"""
_MOVES: Final = frozenset(_MOVE_NAMES.split())
"""Operators that place, copy, choose or fill: nothing is calculated that anybody would count."""
