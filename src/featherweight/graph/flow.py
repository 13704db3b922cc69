"""How each single channel passes through a network: from a graph to cells of channels that go together.

`Flow.of(graph)` walks the nodes once. Every dimension of every value gets an array of cells (graph/cells.py); the rules
of the operators (graph/_flow_*.py) say what becomes of them. An operator without a rule is a barrier: all that touches
it stays whole, and `barriers` names it. Inputs and outputs of the network stay whole too.

The result also knows the integers in the graph that count channels (`counts`: the groups of a convolution, the sizes
of a reshape), because these have to follow when channels go. Integers that come from the code of the network and not
from an attribute cannot follow, so the channels they count are pinned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from featherweight.graph import _flow_elementwise, _flow_layers, _flow_picks, _flow_recurrent, _flow_shapes
from featherweight.graph._flow_base import RULES, Count, Dims, Result, Site, State, pinned, rule
from featherweight.graph.cells import Cells, Ids
from featherweight.graph.ir import Graph, Meta, leaves
from featherweight.graph.origins import Attribute, Expr, Place, Size
from featherweight.graph.record import Recording

__all__ = ["Count", "Dims", "Flow", "Site", "rule"]

_RULE_FILES = (
    _flow_elementwise,
    _flow_layers,
    _flow_picks,
    _flow_recurrent,
    _flow_shapes,
)  # they fill RULES


@dataclass(frozen=True)
class Flow:
    """The cells of a network.

    `dims` gives for each value its cells, `counts` the integers that follow them. `roles` says what a dimension of a
    named tensor means: "out", "in", "each" (one value a channel), "scale". `barriers` are (operator, module path).
    `picks` are the tensors whose values are numbers of places, with the cells of these places.
    """

    graph: Graph
    cells: Cells
    dims: Mapping[int, Result]
    counts: tuple[Count, ...]
    code: Recording | None
    roles: Mapping[tuple[str, int], str]
    barriers: tuple[tuple[str, str], ...] = ()
    fixed: tuple[tuple[str, str], ...] = field(default=())  # module path, what its code says
    used: tuple[Expr, ...] = ()  # what the code computes other numbers from, which have to stay
    picks: Mapping[str, Ids] = field(default_factory=dict)

    @staticmethod
    def of(
        graph: Graph,
        code: Recording | None = None,
        keep: Sequence[str] = (),
        tensors: Mapping[str, Tensor] | None = None,
    ) -> "Flow":
        """The flow of channels through a graph.

        `code` is the recording that it is from, which says what integers of the graph come from; None: all may change,
        because nobody's code made them (a graph from a file). `keep` are patterns of module paths whose outputs stay
        whole. `tensors` are the network's: what picks channels by numbers that are among them can follow.
        """
        state = State(graph, Cells(), _known(graph), numbers=_numbers(graph, tensors or {}))
        _name_tensors(state)
        for number, node in enumerate(graph.nodes, graph.first_node):
            site = Site(state, number, node)
            follow = RULES.get(node.op)
            state.dims[number] = site.barrier() if follow is None else _checked(site, follow(site))
        for ref in leaves(graph.outputs):
            for ids in _flat(state.dims[ref.index]):
                state.cells.pin(ids, "an output of the network")
        _pin_kept(state, keep)
        _pin_unread(state)
        fixed = () if code is None else _pin_code(state, code)
        state.cells.settle()
        return Flow(
            graph,
            state.cells,
            state.dims,
            tuple(state.counts),
            code,
            state.roles,
            tuple(state.barriers),
            fixed,
            () if code is None else _used(state, code),
            state.picks,
        )

    def tensor_dims(self) -> dict[str, Dims]:
        """The cells of each tensor of the network, by its name in the state dict."""
        first = len(self.graph.inputs)
        found = {name: self.dims[number] for number, name in enumerate(self.graph.tensors, first)}
        return {name: dims for name, dims in found.items() if isinstance(dims, tuple)}

    def reason(self, ids: Ids) -> str | None:
        """Why something of these stays, in words; None when nothing is known."""
        for pins, reason in self.cells.reasons:
            if np.isin(ids, pins).any():
                return reason
        return None


def _known(graph: Graph) -> dict[int, Result]:
    return {
        number: pinned(meta.shape) if isinstance(meta, Meta) else ()
        for number, meta in enumerate(graph.sizes[: len(graph.inputs)])
    }


def _numbers(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Ids]:
    """The values of integers in a row, of tensors that surgery can reach."""
    reached = {name: tensors[name] for name in graph.tensors if name in tensors and name not in graph.constants}
    return {
        name: tensor.detach().cpu().numpy().astype(np.int64)
        for name, tensor in reached.items()
        if tensor.dim() == 1 and tensor.dtype in (torch.int32, torch.int64)
    }


def _name_tensors(state: State) -> None:
    graph = state.graph
    for number, (name, meta) in enumerate(zip(graph.tensors, graph.tensor_metas, strict=True), len(graph.inputs)):
        shape = meta.shape if meta is not None else ()
        if name in graph.constants:  # values in the code, which no surgery can reach
            state.dims[number] = pinned(shape)
        else:
            state.dims[number] = tuple(pinned((1,))[0] if size == 1 else state.cells.fresh(size) for size in shape)


def _pin_kept(state: State, keep: Sequence[str]) -> None:
    for number, name in enumerate(state.graph.tensors, len(state.graph.inputs)):
        path = name.rpartition(".")[0]
        if any(fnmatchcase(path, pattern) or path.startswith(f"{pattern}.") for pattern in keep):
            for dim, ids in enumerate(_flat(state.dims[number])):
                if (name, dim) not in state.columns:
                    state.cells.pin(ids, "it was asked to stay")


def _pin_unread(state: State) -> None:
    """Places of tensors that the example does not reach."""
    for name, ranges in state.ranges.items():
        read = state.cells.find(np.concatenate([part for _, part in ranges]))
        for ids, _ in ranges:
            rest = ids[~np.isin(state.cells.find(ids), read)]
            state.cells.pin(rest, f"only a part of {name} is read")


def _checked(site: Site, result: Result) -> Result:
    """The result of a rule, or a barrier where the rule did not expect what it got."""
    expected = site.node.meta if isinstance(site.node.meta, tuple) else (site.node.meta,)
    found = result if isinstance(result, list) else [result]
    if isinstance(site.node.meta, tuple) != isinstance(result, list) or len(expected) != len(found):
        return site.barrier()
    for meta, dims in zip(expected, found, strict=True):
        if isinstance(meta, Meta) and (dims is None or site.shape(dims) != meta.shape):
            return site.barrier()
    return result


def _flat(result: Result) -> list[Ids]:
    if result is None:
        return []
    return [ids for dims in (result if isinstance(result, list) else [result]) for ids in dims]


def _pin_code(state: State, code: Recording) -> tuple[tuple[str, str], ...]:
    """Pins what is counted by integers that the network's code says, or computes other numbers from; gives where."""
    found: dict[tuple[str, str], None] = {}
    used = {item for item in _used(state, code) if isinstance(item, Attribute | Size)}
    for size in used:
        dims = state.dims[size.value] if isinstance(size, Size) else None
        if isinstance(size, Size) and isinstance(dims, tuple):
            state.cells.pin(dims[size.dim], "the code computes with its size")
    for count in state.counts:
        origin = code.origins.get(Place(count.value, count.parameter, count.position))
        if (origin is not None and origin not in used) or not state.cells.find(count.ids).any():
            continue
        node = state.graph.nodes[count.value - state.graph.first_node]
        number = node.arguments()[count.parameter]
        number = number if count.position is None else number[count.position]
        what = f"{node.op} with {count.parameter} {number} in the code"
        if isinstance(origin, Attribute):
            what = f"{node.op} by {origin.name}, which the code computes another number from"
        state.cells.pin(count.ids, f"{what} of {node.scope or 'the network'}")
        found[node.scope, what] = None
    return tuple(found)


def _used(state: State, code: Recording) -> tuple[Expr, ...]:
    """Integers in the graph that count nothing, and those that became scales and the like."""
    counted = {Place(count.value, count.parameter, count.position) for count in state.counts}
    others = (expr for place, expr in code.origins.items() if place not in counted)
    return tuple(dict.fromkeys((*others, *code.used)))
