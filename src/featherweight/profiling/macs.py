"""Multiply-adds of one forward pass, by layer, counted on the traced graph.

A MAC is one multiply-add; papers that count FLOPs mostly count two for each (and some call a MAC a FLOP).
"""

from collections import Counter
from typing import Any, ClassVar

from torch import nn

from featherweight.errors import TraceError
from featherweight.graph.ir import Graph, Node, Ref
from featherweight.graph.trace import trace
from featherweight.profiling._counting import calculates, multiply_adds, stem
from featherweight.profiling._tensors import batch_size, layer_of
from featherweight.profiling.base import Measurement, Metric

FURTHEST = 8
"""How many operators (transposed, reshaped, ...) may lie between a weight and the product that uses it."""


class Macs(Metric):
    """Multiply-adds for one example: those of the batch, divided by its size. What was not counted is in `notes`."""

    unit: ClassVar[str] = "MACs"

    def measure(self, model: nn.Module, example: tuple[Any, ...]) -> Measurement:
        """The count, by layer. Raises: TraceError when the graph cannot be captured."""
        if type(model).forward is nn.Module.forward:
            raise TraceError("weights without a network do no multiply-adds", where="macs", value=type(model).__name__)
        return self.count(trace(model, example), batch_size(example))

    def count(self, graph: Graph, batch: int = 1) -> Measurement:
        """The count on a graph that was traced with `batch` examples."""
        totals: dict[str, int] = {}
        others: Counter[str] = Counter()
        for node in graph.nodes:
            found = multiply_adds(graph, node)
            if found is not None:
                layer = _layer(graph, node)
                totals[layer] = totals.get(layer, 0) + found
            elif calculates(node):
                others[stem(node)] += 1
        parts = {layer: _share(total, batch) for layer, total in totals.items()}
        value = _share(sum(totals.values()), batch)
        words = ", ".join(f"{name} x{count}" for name, count in sorted(others.items()))
        notes = (f"not counted as multiply-adds: {words}",) if words else ()
        return Measurement(value=value, unit=self.unit, parts=parts, notes=notes)


def _share(total: int, batch: int) -> int:
    return round(total / batch) if total % batch else total // batch


def _layer(graph: Graph, node: Node) -> str:
    """The module whose weight the product uses; else the module it was called in; else the operator's name."""
    for ref in list(node.refs())[::-1]:
        name = _weight_behind(graph, ref)
        if name is not None:
            return layer_of(name)
    return node.scope or stem(node)


def _weight_behind(graph: Graph, ref: Ref) -> str | None:
    for _ in range(FURTHEST):
        node = graph.node(ref)
        if node is None:
            return graph.tensor_name(ref)
        sources = list(node.refs())
        if len(sources) != 1 or calculates(node):
            return None
        ref = sources[0]
    return None
