"""Channels that are constant when they go: what they added to the layers behind them stays, as part of a bias.

A channel whose weights are zero, or whose batch-norm scale is, gives the same value everywhere, act(shift), which the
layers behind it add to each of their outputs. So b' = b + sum over kernel places of W[:, channel] x value is exact;
not so at the border of a convolution that pads with zeros, where a channel is left to whoever repairs the network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featherweight.graph.cells import Ids
from featherweight.graph.groups import Group
from featherweight.graph.ir import Graph, Meta, Node, Ref
from featherweight.graph.masked import step_of
from featherweight.graph.structure import Mask, Structure

_READERS = ("linear", "conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding")


@dataclass(frozen=True)
class Shift:
    """What to add to a tensor of the network: a bias, or less often a running mean (with the sign it needs)."""

    tensor: str
    amount: Tensor


def shifts(
    structure: Structure, groups: Iterable[Group], gone: Mask, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> list[Shift]:
    """What the constant ones among the channels that go leave behind, for tensors of full size.

    `inputs` are an example; a channel counts as constant when its weights or scales are zero and it has one value over
    the whole example.
    """
    if not any(_is_dead(group, gone, tensors) for group in groups):
        return []
    graph = structure.flow.graph
    values = _run(graph, tensors, inputs)
    found = []
    for number, node in enumerate(graph.nodes, graph.first_node):
        if node.op in _READERS and isinstance(node.args[0], Ref):
            found += _shift(structure, gone, number, node, values)
    return found


def _is_dead(group: Group, gone: Mask, tensors: Mapping[str, Tensor]) -> bool:
    """Whether nothing but a shift can come out of one of a group's channels that go."""
    going = gone[group.atoms]
    if not going.any():
        return False
    for role in ("out", "scale"):
        slots = [slot for slot in group.slots if slot.role == role and slot.tensor in tensors]
        live = [_lives(tensors[slot.tensor], slot.dim, slot.index[going]) for slot in slots]
        if live and not np.logical_or.reduce(live).all():
            return True
    return False


def _lives(tensor: Tensor, dim: int, index: Ids) -> Mask:
    """For each row of places in a dimension, (channels, places): whether something there is not zero."""
    places = torch.from_numpy(index.ravel()).to(tensor.device)
    parts = tensor.detach().movedim(dim, 0)[places].reshape(len(index), -1)
    return np.asarray((parts != 0).any(1).cpu().numpy())


def _run(graph: Graph, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Any]:
    values: list[Any] = [*inputs, *(tensors[name] for name in graph.tensors)]
    with torch.no_grad():
        for node in graph.nodes:
            values.append(step_of(node).run(values, torch.device("cpu")))
    return values


def _shift(structure: Structure, gone: Mask, number: int, node: Node, values: list[Any]) -> list[Shift]:
    """What a layer has to add for the constants that it does not see any more."""
    given, graph, source = node.arguments(), structure.flow.graph, node.args[0]
    weight, dims = given["weight"], structure.flow.dims[source.index] if isinstance(source, Ref) else None
    if not isinstance(source, Ref) or not isinstance(weight, Ref) or not isinstance(dims, tuple):
        return []
    if given.get("groups", 1) != 1:
        return []
    axis = len(dims) - 1 if node.op == "linear" else len(dims) - values[weight.index].dim() + 1
    lost = torch.from_numpy(gone[structure.flow.cells.find(dims[axis])])
    arriving = values[source.index].movedim(axis, 0).flatten(1)
    constant = lost & (arriving == arriving[:, :1]).all(1) & (arriving[:, 0] != 0)
    if not bool(constant.any()) or _pads(given):
        return []
    columns = (
        values[weight.index].transpose(0, 1).flatten(2).sum(2) if node.op != "linear" else values[weight.index].t()
    )
    amount = (columns[constant] * arriving[constant, :1]).sum(0)
    return _into(graph, number, given, amount)


def _pads(given: Mapping[str, Any]) -> bool:
    padding = given.get("padding", 0)
    return (
        padding == "same" or (isinstance(padding, tuple) and any(padding)) or (isinstance(padding, int) and padding > 0)
    )


def _into(graph: Graph, number: int, given: Mapping[str, Any], amount: Tensor) -> list[Shift]:
    """The bias takes it, or where there is none the mean of the batch norm that alone reads the layer."""
    if given["bias"] is not None:
        name = graph.tensor_name(given["bias"])
        return [Shift(name, amount)] if name else []
    readers = graph.users().get(number, [])
    norm = graph.node(Ref(readers[0])) if len(readers) == 1 else None
    mean = norm.arguments()["running_mean"] if norm is not None and norm.op == "batch_norm" else None
    name = graph.tensor_name(mean) if isinstance(mean, Ref) else None
    return [Shift(name, -amount)] if name and isinstance(graph.meta(Ref(number)), Meta) else []
