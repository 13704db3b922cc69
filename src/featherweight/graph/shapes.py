"""Shapes of all values of a graph, without computing any: the graph is run on tensors without data.

For a graph out of a file this is also the last check: what passes has arguments that fit each other, runs for inputs
of its own signature, and has no value larger than a stated bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from featherweight.core.patience import Check, never
from featherweight.errors import FormatError
from featherweight.graph.ir import Graph, Meta, NodeMeta, Signature
from featherweight.graph.program import MAX_ELEMENTS, Step, prepare

_META: Final = torch.device("meta")
_MAX_PARTS: Final = 65_536
_RECURRENT: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def annotated(graph: Graph, tensors: Mapping[str, Tensor], check: Check = never) -> Graph:
    """The same graph with shape and type of each value, at a batch of 1 (of 2, where it cannot run with 1).

    `tensors` holds at least `graph.tensors`; only their shapes and types are used. `check` is called at each node.

    Raises: FormatError when a node cannot take arguments of the shapes it gets (E_SHAPE), or a value would have more
    than 2^31 elements (E_GRAPH).
    """
    metas = tuple(Meta.of(tensors[name]) for name in graph.tensors)
    try:
        return _at_batch(graph, metas, 1, check)
    except FormatError:
        if all(None not in item.shape for item in graph.signature):
            raise
        return _at_batch(graph, metas, 2, check)


def _at_batch(graph: Graph, tensors: tuple[Meta, ...], batch: int, check: Check) -> Graph:
    sizes = tuple(_sized(item, batch) for item in graph.signature)
    program = prepare(graph, check)
    values: list[Any] = [_empty(meta) for meta in (*sizes, *tensors)]
    values += [None] * len(graph.nodes)
    nodes = []
    with torch.no_grad():
        for node, step in zip(graph.nodes, program.steps, strict=True):
            check()
            values[step.number] = _run(step, values)
            nodes.append(replace(node, meta=_meta(values[step.number], step)))
    return replace(graph, nodes=tuple(nodes), sizes=sizes, tensor_metas=tensors)


def _sized(signature: Signature, batch: int) -> Meta:
    meta = Meta(tuple(batch if size is None else size for size in signature.shape), signature.dtype)
    if math.prod(meta.shape) > MAX_ELEMENTS:
        raise FormatError("E_GRAPH", "an input has more than 2^31 elements", section="graph", value=meta.shape)
    return meta


def _empty(meta: Meta) -> Tensor:
    return torch.empty(meta.shape, dtype=meta.dtype, device=_META)


def _run(step: Step, values: Sequence[Any]) -> Any:
    try:
        _check_parts(step, values)
        if step.op.name in _RECURRENT:
            return _recurrent(step, values)
        return step.run(values, _META)
    except FormatError:
        raise
    except Exception as error:  # ATen answers wrong arguments with any of half a dozen types
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FormatError(
            "E_SHAPE", f"value {step.number}: {step.op.name} cannot take its arguments: {reason[0]}", section="graph"
        ) from error


def _recurrent(step: Step, values: Sequence[Any]) -> tuple[Tensor, ...]:
    # Without data ATen still walks over every time step, so the shapes are said here.
    arguments = step.by_place.fill(values)
    inputs, state = arguments[:2]
    states = state if step.op.name == "lstm" else [state]
    by_name = dict(zip(step.names, step.by_name.fill(values), strict=True))
    if step.op.guard is not None:
        step.op.guard(step.op.name, arguments, by_name)
    directions = 2 if by_name["bidirectional"] else 1
    width = states[0].shape[-1] * directions
    return (inputs.new_empty((*inputs.shape[:-1], width)), *(item.new_empty(item.shape) for item in states))


def _check_parts(step: Step, values: Sequence[Any]) -> None:
    """Refuses an operator that would make more tensors than anyone needs."""
    if step.op.results != ("tensors",) or step.by_place.lists:
        return
    arguments = [*step.by_place.fill(values), *step.by_name.fill(values)]
    whole, dim = arguments[0], arguments[-1]
    if not isinstance(whole, Tensor) or not isinstance(dim, int) or isinstance(arguments[1], list):
        return
    size = whole.shape[dim] if whole.dim() else 1
    each = arguments[1] if "split" in step.op.name and step.op.name != "tensor_split" else 1
    asked = arguments[1] if "chunk" in step.op.name or step.op.name == "tensor_split" else size / max(each, 1)
    if asked > _MAX_PARTS:
        raise FormatError("E_GRAPH", f"{step.op.name} makes more than {_MAX_PARTS} parts", section="graph", value=asked)


def _meta(value: Any, step: Step) -> NodeMeta:
    if isinstance(value, Tensor):
        if value.numel() > MAX_ELEMENTS:
            raise FormatError(
                "E_GRAPH",
                f"value {step.number}: {step.op.name} gives more than 2^31 elements",
                section="graph",
                value=tuple(value.shape),
            )
        return Meta.of(value)
    if isinstance(value, tuple | list):
        found = [_meta(item, step) for item in value]
        return tuple(item for item in found if isinstance(item, Meta))
    return value if isinstance(value, int) else None
