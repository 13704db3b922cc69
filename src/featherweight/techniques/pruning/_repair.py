"""Repair of a network that lost channels, from calibration inputs alone: no labels, no gradients.

"least_squares" goes from layer to layer, in the order in which they run. X is what a layer reads in the smaller network
as repaired so far, Y what the same layer gave in the whole one: errors of earlier layers are made up for, and do not
add up. Source: He et al. 2017 (ICCV, "Channel pruning for accelerating very deep neural networks"), section 3.1, step
(ii); section 3.3 for the last layer of a residual branch.
"""

from typing import Final, Literal, TypeAlias

import torch
from torch import nn

from featherweight.core.context import Context
from featherweight.errors import TechniqueError
from featherweight.graph.cells import Ids
from featherweight.graph.structure import Mask
from featherweight.graph.surgery import Anatomy
from featherweight.techniques.pruning._layers import fitted_layers
from featherweight.techniques.pruning._refit import Look, fit, tensors_by_name, visit
from featherweight.techniques.pruning._walk import Walk
from featherweight.training.capture import recalibrate

Repair: TypeAlias = Literal["none", "statistics", "least_squares"]

EXAMPLES: Final = 512
"""Of the calibration split that are looked at."""


def repaired(repair: Repair, before: nn.Module, after: nn.Module, known: Anatomy, atoms: Ids, context: Context) -> None:
    """Changes the weights of `after` in place so that it computes more nearly what `before` does.

    Least squares records "repair": for each weight the share of its layer's error on held-out examples that is left
    (the error as it was when its turn came), or why it could not be done; then there are only statistics.
    """
    if repair == "none" or not len(atoms):
        return
    if repair == "least_squares":
        _least_squares(before, after, known, atoms, context)
    else:
        recalibrate(after, context.batches("calibration", 256))


def _least_squares(before: nn.Module, after: nn.Module, known: Anatomy, atoms: Ids, context: Context) -> None:
    batches = list(context.batches("calibration", EXAMPLES))
    try:
        walk = Walk.of(before, after, batches, context.device)
    except TechniqueError as error:
        context.record("repair", f"no least squares: {error}")
        recalibrate(after, context.batches("calibration", 256))
        return
    gone = known.gone(atoms)
    kept = {name: torch.from_numpy(dims[0]) for name, dims in known.structure.kept(gone).items() if 0 in dims}
    reached = _reached(known, gone)
    layers = [layer for layer in fitted_layers(walk.graph, after) if layer.weight in reached]
    whole, tensors = tensors_by_name(before), tensors_by_name(after)
    examples = sum(len(batch.inputs[0]) for batch in batches)
    left: dict[str, float] = {}
    with context.progress.bar("least squares", len(layers)) as bar:
        for layer in layers:
            rows = kept[layer.weight].to(context.device) if layer.weight in kept else None
            look = Look(layer, whole, tensors, rows, examples, context.generator("least squares", layer.weight))
            (seen,) = visit(walk, [look])
            if seen is not None:
                left[layer.weight] = round(fit(look, seen), 6)
            bar.advance()
    context.record("repair", left)


def _reached(known: Anatomy, gone: Mask) -> set[str]:
    """The tensors of the nodes that read something else than before: values that lost channels, or what follows."""
    flow = known.structure.flow
    graph = flow.graph

    def lost(index: int) -> bool:
        dims = flow.dims[index]
        parts = dims if isinstance(dims, list) else [dims]
        return any(bool(gone[flow.cells.find(ids)].any()) for part in parts if part for ids in part)

    nodes: set[int] = set()
    names: set[str | None] = set()
    for number, node in enumerate(graph.nodes, graph.first_node):
        read = [ref.index for ref in node.refs()]
        if any(index in nodes or (index >= graph.first_node and lost(index)) for index in read):
            nodes.add(number)
            names.update(graph.tensor_name(ref) for ref in node.refs())
    return {name for name in names if name is not None}
