"""Selection layers in front of batch norms whose input others read too: only their own convolutions see fewer channels.

Liu et al. 2017, section 3 ("handling cross layer connections"): in pre-activation ResNets and DenseNets a batch norm
reads the stream that others read as well, so its channels cannot be taken out of the stream.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.encodings.attach import encodings_of
from featherweight.errors import TechniqueError
from featherweight.graph import surgery
from featherweight.graph.ir import Graph, Node
from featherweight.graph.layers import ChannelSelect
from featherweight.graph.surgery import Anatomy
from featherweight.techniques.pruning._scores import gates

Conv: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d

_CONVS = {"conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding"}
_THROUGH = {  # what gives each channel from the same channel alone, and 0 from 0
    *("relu", "relu6", "hardtanh", "leaky_relu", "silu", "gelu", "hardswish", "elu", "mish", "tanh", "dropout"),
    *(f"{kind}_pool{axes}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3)),
}


@dataclass(frozen=True)
class Reader:
    """A batch norm, by path, and the convolutions that alone read it, through activations."""

    norm: str
    convs: tuple[str, ...]


def readers(model: nn.Module, known: Anatomy, keep: Sequence[str] = ()) -> list[Reader]:
    """The batch norms in front of which a selection layer can stand, in the order of the network."""
    graph = known.structure.flow.graph
    behind = {gate.scale for gate in gates(known)}
    modules, users = dict(model.named_modules()), graph.users()
    found: dict[str, Reader] = {}
    twice = _scopes_used_twice(graph)
    for number, node in enumerate(graph.nodes, graph.first_node):
        norm = modules.get(node.scope)
        if node.op != "batch_norm" or not isinstance(norm, _BatchNorm) or norm.weight is None:
            continue
        convs = _convs(graph, users, number)
        paths = (node.scope, *(conv.scope for conv in convs or ()))
        if f"{node.scope}.weight" in behind or not convs or twice & set(paths):
            continue
        plain = all(type(modules.get(path)) in (nn.Conv1d, nn.Conv2d, nn.Conv3d) for path in paths[1:])
        whole = all(cast(Conv, modules[path]).groups == 1 for path in paths[1:]) if plain else False
        if whole and not any(fnmatch(node.scope, pattern) for pattern in keep):
            found[node.scope] = Reader(node.scope, paths[1:])
    return list(found.values())


def _scopes_used_twice(graph: Graph) -> set[str]:
    """Modules that run more than once: they serve several places and stay as they are."""
    seen: set[str] = set()
    again: set[str] = set()
    for node in graph.nodes:
        if node.op == "batch_norm" or node.op in _CONVS:
            (again if node.scope in seen else seen).add(node.scope)
    return again


def _convs(graph: Graph, users: dict[int, list[int]], number: int) -> list[Node] | None:
    """The convolutions that read a value, through activations; None when anything else does."""
    reading = users.get(number, [])
    convs: list[Node] = []
    for user in reading:
        node = graph.nodes[user - graph.first_node]
        if node.op in _CONVS:
            convs.append(node)
            continue
        further = _convs(graph, users, user) if node.op in _THROUGH else None
        if further is None:
            return None
        convs += further
    return convs if reading else None


def selected(model: nn.Module, kept: Iterable[tuple[Reader, Tensor]]) -> nn.Module:
    """The model with selection layers in place, keeping these channels (int64, ascending) of each batch norm.

    Raises: TechniqueError where a weight that changes is kept in a way of its own.
    """
    encoded, modules = encodings_of(model), dict(model.named_modules())
    changes: dict[str, nn.Module] = {}
    for reader, indices in kept:
        norm = cast(_BatchNorm, modules[reader.norm])
        if len(indices) == norm.num_features:
            continue
        for path in (reader.norm, *reader.convs):
            held = next((name for name in encoded if name.rpartition(".")[0] == path), None)
            if held is not None:
                fix = "Prune channels before the step that encodes weights."
                raise TechniqueError("cannot select of a weight with an encoding", where=held, fix=fix)
        changes[reader.norm] = nn.Sequential(ChannelSelect(indices), _narrow_norm(norm, indices))
        changes |= {path: _narrow_conv(cast(Conv, modules[path]), indices) for path in reader.convs}
    return surgery.replace(model, changes) if changes else model


def _narrow_norm(norm: _BatchNorm, indices: Tensor) -> nn.Module:
    narrow = copy.deepcopy(norm)
    narrow.num_features = len(indices)
    for name, item in (*norm.named_parameters(), *norm.named_buffers()):
        if item.dim():
            _put(narrow, name, item, item.detach()[indices.to(item.device)])
    return narrow


def _narrow_conv(conv: Conv, indices: Tensor) -> nn.Module:
    narrow = copy.deepcopy(conv)
    narrow.in_channels = len(indices)
    _put(narrow, "weight", conv.weight, conv.weight.detach()[:, indices.to(conv.weight.device)])
    return narrow


def _put(module: nn.Module, name: str, old: Tensor, value: Tensor) -> None:
    value = value.clone()
    trained = isinstance(old, nn.Parameter)
    setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad) if trained else torch.Tensor(value))
