"""Which tensors of a model go into a file, under which names, and how each is kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.errors import UsageError
from featherweight.graph.ir import Graph
from featherweight.graph.module import tensors_of
from featherweight.training.constraints import constraints_of


@dataclass(frozen=True)
class Tied:
    """One tensor, the names it has in the model (the first is the one it is kept under), and its attached encoding."""

    name: str
    other_names: tuple[str, ...]
    tensor: Tensor
    attached: Encoding | None

    def encoding(self) -> Encoding:
        """How the tensor is kept, with the values that it has now, on the CPU."""
        values = self.tensor.detach().to("cpu")
        return self.attached.updated(values) if self.attached is not None else Dense(values, values.dtype)


def tied_tensors(model: nn.Module, graph: Graph | None) -> Iterator[Tied]:
    """The tensors that the graph uses, or all of state_dict(), each storage once, in that order.

    Raises: UsageError for a tensor that is missing, without values or not dense.
    """
    state = _state(model)
    tensors = state if graph is None else tensors_of(graph, model)
    attached = {name: item for name, item in constraints_of(model).items() if isinstance(item, Encoding)}
    for names in _groups(tensors | state):
        if names[0] not in tensors:
            continue  # not used by the graph, and no other name of what is
        encoding = next((attached[name] for name in names if name in attached), None)
        yield Tied(names[0], tuple(names[1:]), tensors[names[0]], encoding)


def _state(model: nn.Module) -> dict[str, Tensor]:
    found = model.state_dict()
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise UsageError(
                "state that is no tensor cannot be kept", where=name, value=type(value).__name__, fix="Remove it."
            )
    return dict(found)


def _groups(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of one and the same storage together, in order of their first name."""
    groups: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            raise UsageError(
                "only dense tensors with values can be kept",
                where=name,
                value=f"{tensor.layout} on {tensor.device}",
                fix="Load the weights, or call to_dense(), first.",
            )
        place = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        groups.setdefault(place if tensor.numel() else name, []).append(name)
    return list(groups.values())
