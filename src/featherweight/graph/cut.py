"""A graph without some of its channels: the integers that count channels follow, the tensors lose their places."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from featherweight.graph._flow_base import Count
from featherweight.graph.cells import Ids
from featherweight.graph.ir import Graph, Node
from featherweight.graph.structure import Mask, Structure


def left(structure: Structure, count: Count, gone: Mask) -> int:
    """What an integer that counts channels becomes."""
    return count.sign * int((~gone[structure.flow.cells.find(count.ids)]).sum())


def cut_graph(structure: Structure, gone: Mask) -> Graph:
    """The graph that computes the same without the cells that are gone. Shapes are not known any more."""
    graph = structure.flow.graph
    changes: dict[int, dict[tuple[str, int | None], int]] = {}
    for count in structure.flow.counts:
        if gone[structure.flow.cells.find(count.ids)].any():
            changes.setdefault(count.value, {})[count.parameter, count.position] = left(structure, count, gone)
    nodes = tuple(
        replace(_changed(node, changes.get(number, {})), meta=None)
        for number, node in enumerate(graph.nodes, graph.first_node)
    )
    return replace(graph, nodes=nodes, sizes=(), tensor_metas=())


def _changed(node: Node, changes: Mapping[tuple[str, int | None], int]) -> Node:
    if not changes:
        return node
    given: dict[str, Any] = node.arguments()
    names = list(given)[: len(node.args)]
    for (parameter, position), value in changes.items():
        if position is None:
            given[parameter] = value
        else:
            items = list(given[parameter])
            items[position] = value
            given[parameter] = tuple(items)
    return replace(node, args=tuple(given[name] for name in names))


def cut_tensor(tensor: Tensor, kept: Mapping[int, Ids]) -> Tensor:
    """The tensor with only these indices of each dimension."""
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, torch.from_numpy(indices).to(tensor.device))
    return tensor
