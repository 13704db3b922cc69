"""The tensors of a model as they are stored: each once, with its layer and its encoding."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from featherweight.encodings.attach import encodings_of
from featherweight.encodings.base import Encoding


@dataclass(frozen=True)
class Stored:
    """One tensor of the state dict; `layer` is the name of its module ("" for the model itself)."""

    name: str
    layer: str
    tensor: Tensor
    encoding: Encoding | None
    is_parameter: bool


def stored_tensors(model: nn.Module) -> list[Stored]:
    """All tensors of `model.state_dict()`; one that goes by several names comes once, under the first."""
    encodings = encodings_of(model)
    seen: set[int] = set()
    found = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor) or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        is_parameter = isinstance(tensor, nn.Parameter)
        found.append(Stored(name, layer_of(name), tensor.detach(), encodings.get(name), is_parameter))
    return found


def layer_of(tensor_name: str) -> str:
    """The module that a tensor belongs to, by name."""
    return tensor_name.rpartition(".")[0]


def by_layer(items: list[tuple[str, int]]) -> dict[str, int]:
    """Sums by layer, in the order in which layers first come."""
    sums: dict[str, int] = {}
    for layer, count in items:
        sums[layer] = sums.get(layer, 0) + count
    return sums


def batch_size(example: tuple[Any, ...]) -> int:
    """How many examples there are in the positional inputs: the first size of the first tensor (1 without any)."""
    tensor = next((item for item in example if isinstance(item, Tensor) and item.dim() > 0), None)
    return 1 if tensor is None else int(tensor.shape[0])
