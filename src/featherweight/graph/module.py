"""A graph with its tensors as a model: runs, trains, copies and exports like any other, without the user's class.

The model computes what the traced one computed in evaluation mode, and `train()` does not change that: there is no
dropout, and batch norm keeps its statistics. Its parameters can be trained further.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.patience import Check, never
from featherweight.errors import DataError, UsageError
from featherweight.graph.ir import Graph
from featherweight.graph.program import prepare, tensors_in, values_of
from featherweight.graph.shapes import annotated


class Scope(nn.Module):
    """A level in the names of parameters, without a function of its own."""


class GraphModule(nn.Module):
    """A model that is a graph. Made by `to_module`; `graph` says what it computes."""

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor], check: Check = never) -> None:
        super().__init__()
        self._fw_graph = graph
        self._fw_program = prepare(graph, check)
        self._fw_places = [_register(self, name, tensors[name], name in graph.buffers) for name in graph.tensors]
        for alias, name in _aliases(graph, tensors):
            _register_again(self, alias, name)

    @property
    def graph(self) -> Graph:
        """What the model computes."""
        return self._fw_graph

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return self._fw_graph.inputs

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for the inputs: by place (nested tuples, lists and dictionaries are opened) or by name.

        Raises: DataError when the number of tensors or a name does not match the graph.
        """
        inputs = list(tensors_in(args))
        for name in self._fw_graph.inputs[len(inputs) :]:
            if name in kwargs:
                inputs.append(kwargs[name])
        if len(inputs) != len(self._fw_graph.inputs) or not kwargs.keys() <= set(self._fw_graph.inputs):
            raise DataError(
                f"the model takes the {len(self._fw_graph.inputs)} inputs {', '.join(self._fw_graph.inputs)}",
                value=f"{len(inputs)} tensors and the names {sorted(kwargs)}",
            )
        tensors = [_current(owner, key) for owner, key in self._fw_places]
        first = next(iter([*inputs, *tensors]), None)
        device = torch.device("cpu") if first is None else first.device
        return values_of(self._fw_graph.outputs, self._fw_program.run([*inputs, *tensors], device))

    def extra_repr(self) -> str:
        """One line about the graph."""
        return f"inputs={', '.join(self._fw_graph.inputs)}; {len(self._fw_graph.nodes)} operators"


def to_module(graph: Graph, tensors: Mapping[str, Tensor], check: Check = never) -> GraphModule:
    """The model of a graph with these tensors, which it takes over without copying.

    `tensors` must hold every name in `graph.tensors`, save those in `graph.constants`. Further names of the same
    tensors (tied weights) are kept; other names are passed over. Floating-point tensors become parameters unless the
    graph says that they are buffers; all others become buffers. `check` is called at each node.

    Raises: UsageError for a missing tensor, FormatError E_SHAPE for a graph that cannot run on these shapes.
    """
    known = {**graph.constants, **tensors}
    missing = [name for name in graph.tensors if name not in known]
    if missing:
        raise UsageError("the graph needs tensors that are not given", value=missing, fix="Give them by name.")
    if any(node.meta is None for node in graph.nodes) or len(graph.sizes) != len(graph.inputs):
        graph = annotated(graph, known, check)
    return GraphModule(graph, known, check).eval()


def tensors_of(graph: Graph, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of `model` that its graph uses, by name, in the graph's order.

    Raises: UsageError when the model has another structure than the one that was traced.
    """
    found: dict[str, Tensor] = {
        **graph.constants,
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }
    missing = [name for name in graph.tensors if name not in found]
    if missing:
        raise UsageError(
            "the model lacks tensors of its graph", value=missing, fix="Trace the model again after changing it."
        )
    return {name: found[name] for name in graph.tensors}


def _register(root: nn.Module, name: str, tensor: Tensor, is_buffer: bool) -> tuple[nn.Module, str]:
    owner, key = _owner(root, name)
    trainable = tensor.is_floating_point() or tensor.is_complex()
    # straight into the tables of nn.Module: names from files may equal methods, which setattr would not survive
    if trainable and not is_buffer:
        owner._parameters[key] = nn.Parameter(tensor.detach())
    else:
        owner._buffers[key] = tensor.detach()
    return owner, key


def _register_again(root: nn.Module, alias: str, name: str) -> None:
    source, key = _owner(root, name)
    owner, other = _owner(root, alias)
    if key in source._parameters:
        owner._parameters[other] = source._parameters[key]
    else:
        owner._buffers[other] = source._buffers[key]


def _owner(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    *path, key = name.split(".")
    owner = root
    for part in path:
        inner = owner._modules.get(part)
        if inner is None:
            inner = owner._modules[part] = Scope()
        owner = inner
    return owner, key


def _current(owner: nn.Module, key: str) -> Tensor:
    found: Tensor | None = owner._parameters.get(key)
    if found is None:
        found = owner._buffers.get(key)
    return getattr(owner, key) if found is None else found  # a parametrisation computes it


def _aliases(graph: Graph, tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Names that are not in the graph and stand for the very memory of one that is."""
    in_graph = set(graph.tensors)
    used = {_memory(tensors[name]): name for name in reversed(graph.tensors) if tensors[name].numel()}
    return [
        (name, used[_memory(tensor)])
        for name, tensor in tensors.items()
        if name not in in_graph and _memory(tensor) in used
    ]


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    if tensor.device.type == "meta":  # no memory: only the object itself is the same
        return (id(tensor),)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
