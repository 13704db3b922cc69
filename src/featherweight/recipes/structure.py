"""Whether a model can be taken up from a file of its weights, and what has to be noted beside them."""

from typing import Any

from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.base import Encoding
from featherweight.errors import TechniqueError, UsageError
from featherweight.graph.log import Log, log_of, replay
from featherweight.training.constraints import constraints_of

Notes = dict[str, dict[str, Any]]
Structure = list[tuple[str, Any, tuple[int, ...]]]


def structure_of(model: nn.Module) -> Structure:
    """Names, types and shapes of all parameters and buffers, and names and classes of all modules, in order."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    shapes: Structure = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors]
    return shapes + [(name, type(module), ()) for name, module in model.named_modules()]


def regrown(origin: nn.Module, model: nn.Module) -> nn.Module | None:
    """A copy without values of `origin` with the structure of `model`; None where the log of `model` does not give it.

    `origin` is a sketch of the model that a run began with (graph/log.py).
    """
    own, whole = log_of(origin).steps, log_of(model).steps
    try:
        again = replay(origin, Log(whole[len(own) :])) if whole[: len(own)] == own else origin
    except UsageError:
        return None
    return again if structure_of(again) == structure_of(model) else None


def settings_of(model: nn.Module) -> Notes:
    """The plain settings of every module (a dropout's p, a norm's momentum), which no file of weights holds."""
    return {
        name: {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and isinstance(value, bool | int | float | str)
        }
        for name, module in model.named_modules()
    }


def changed(before: Notes, after: Notes) -> Notes:
    """The settings in `after` that differ from those in `before`."""
    differing = {
        name: {key: value for key, value in settings.items() if before.get(name, {}).get(key) != value}
        for name, settings in after.items()
    }
    return {name: settings for name, settings in differing.items() if settings}


def apply_settings(model: nn.Module, notes: Notes) -> None:
    """Puts noted settings into the modules of these names."""
    modules = dict(model.named_modules())
    for name, settings in notes.items():
        for key, value in settings.items():
            setattr(modules[name], key, value)


def settle(model: nn.Module) -> None:
    """Sets every tensor to exactly what its encoding holds; one after the other, so that no second model is made.

    Raises: TechniqueError for an encoding of a tensor that the model does not have.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, constraint in constraints_of(model).items():
        if name not in tensors:
            raise TechniqueError(
                "an encoding is attached to a tensor that the model does not have",
                value=name,
                fix="A technique that replaces a module takes its encodings along, or detaches them.",
            )
        if isinstance(constraint, Encoding):
            attach(model, {name: constraint.updated(tensors[name].detach())})
