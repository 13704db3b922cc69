"""A safetensors checkpoint alone, in one file or in shards: weights without a network, for recipes without data.

The task's model holds each tensor by its name and cannot run. What comes out loads back into the user's own model by
those names.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.task import Task
from featherweight.errors import TaskError
from featherweight.frontends.base import FrontEnd
from featherweight.frontends.safetensors_files import is_checkpoint, open_checkpoint

BUFFER_NAMES = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""Last parts of names that are statistics of batch norm by PyTorch's convention: kept as buffers, not as weights."""


RESERVED = "training"
"""The one name that nn.Module itself writes to (in train() and eval())."""


class Safetensors(FrontEnd):
    """Reads a checkpoint in the safetensors format; no code of the file is run because it holds none."""

    looks: ClassVar[str] = "weights.safetensors"

    @classmethod
    def accepts(cls, name: str) -> bool:
        """Names that end in .safetensors or .safetensors.index.json, and directories."""
        return is_checkpoint(name)

    def read(self, name: str, settings: Mapping[str, Any], *, seed: int | None = None) -> Task:
        """A task without data whose model holds the tensors of the checkpoint by name; see FrontEnd.read."""
        if settings:
            raise TaskError("a checkpoint takes no arguments", where=name, value=sorted(settings))
        checkpoint = open_checkpoint(name)
        return Task(model=holder_of(checkpoint.load()), example=(), name=checkpoint.name)


def holder_of(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A module whose state_dict() has exactly these names and tensors; calling it raises TaskError.

    Floating-point tensors become parameters, others (and batch-norm statistics) buffers. Dots in names make nested
    modules, so that modules can be found by the names they have in the user's model.

    Raises: TaskError for a name with the part "training".
    """
    root = _Weights()
    for name, tensor in tensors.items():
        if RESERVED in name.split("."):
            raise TaskError("a name that every module keeps for itself", where=name, value=RESERVED, fix="Rename it.")
        *path, leaf = name.split(".")
        place = root
        for part in path:
            place = place.inner(part)
        place.hold(leaf, tensor)
    return root.eval()


class _Weights(nn.Module):
    """Holds tensors and has no forward: that is how others see that there is nothing to run.

    Writes into the tables of nn.Module itself, because a checkpoint may use names that are also methods.
    """

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        raise TaskError(
            "a checkpoint alone cannot be run: it holds weights and no network",
            where="model",
            value=f"called with {len(inputs) + len(named)} inputs",
            fix="Load the result into your own model by name: featherweight.load(path, into=model).",
        )

    def inner(self, name: str) -> "_Weights":
        """The module of this name inside, made where it is not there yet."""
        found = self._modules.setdefault(name, _Weights())
        if not isinstance(found, _Weights):
            raise TaskError("a name is used twice", where="checkpoint", value=name)
        return found

    def hold(self, name: str, tensor: Tensor) -> None:
        """Takes the tensor in under this name, as a parameter or a buffer."""
        if tensor.is_floating_point() and name not in BUFFER_NAMES:
            differentiable = tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
            self._parameters[name] = nn.Parameter(tensor, requires_grad=differentiable)
        else:
            self._buffers[name] = tensor
