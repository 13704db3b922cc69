"""What stands behind a layer: a batch norm, and whether a ReLU is all that its outputs meet."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import TraceError
from featherweight.graph.ir import Graph, Node, Ref, leaves
from featherweight.graph.record import record

_LAYERS = ("linear", *(f"conv{axes}d{kind}" for axes in (1, 2, 3) for kind in ("", ".padding")))


@dataclass(frozen=True)
class Behind:
    """scale y + shift (by channel, double) is what the ReLU sees of a layer's outputs y, where there is a `relu`."""

    scale: Tensor
    shift: Tensor
    relu: bool


def behind(model: nn.Module, context: Context, paths: Sequence[str]) -> dict[str, Behind]:
    """For each layer what follows it. Where the graph cannot be recorded, nothing does, as far as one can tell."""
    try:
        graph = record(model, context.example).graph
    except TraceError:
        graph = None
    found = {}
    for path in paths:
        weight = model.get_submodule(path).get_parameter("weight")
        plain = Behind(torch.ones(len(weight)).to(weight).double(), torch.zeros(len(weight)).to(weight).double(), False)
        found[path] = plain if graph is None else _after(graph, model, path, plain)
    return found


def _after(graph: Graph, model: nn.Module, path: str, plain: Behind) -> Behind:
    users = graph.users()
    outputs = {ref.index for ref in leaves(graph.outputs)}

    def only_reader(number: int) -> tuple[int, Node] | None:
        readers = users.get(number, [])
        if len(readers) != 1 or number in outputs:
            return None
        return readers[0], graph.nodes[readers[0] - graph.first_node]

    number = _place(graph, f"{path}.weight")
    reader = None if number is None else only_reader(number)
    if reader is not None and reader[1].op == "batch_norm":
        affine = _affine(graph, model, reader[1])
        if affine is not None:
            plain = Behind(*affine, relu=False)
            reader = only_reader(reader[0])
    relu = reader is not None and reader[1].op.partition(".")[0] == "relu"
    return Behind(plain.scale, plain.shift, relu)


def _place(graph: Graph, name: str) -> int | None:
    """The number of the value that the layer with this weight gives."""
    for number, node in enumerate(graph.nodes, graph.first_node):
        weight = node.arguments().get("weight") if node.op in _LAYERS else None
        if isinstance(weight, Ref) and graph.tensor_name(weight) == name:
            return number
    return None


def _affine(graph: Graph, model: nn.Module, node: Node) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of a batch norm in evaluation; None for one without statistics."""
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    given = node.arguments()
    parts: dict[str, Tensor] = {}
    for part in ("weight", "bias", "running_mean", "running_var"):
        name = graph.tensor_name(given[part]) if isinstance(given.get(part), Ref) else None
        if name is not None and name in state:
            parts[part] = state[name].detach().double()
    if "running_var" not in parts or "running_mean" not in parts:
        return None
    scale = (parts["running_var"] + float(given["eps"])).rsqrt()
    scale = scale * parts.get("weight", torch.ones_like(scale))
    return scale, parts.get("bias", torch.zeros_like(scale)) - parts["running_mean"] * scale
