"""The optimisers that a task or a technique may name."""

import torch
from torch import nn

from featherweight.core.catalog import did_you_mean
from featherweight.core.context import Finetuning
from featherweight.core.task import Training
from featherweight.errors import ConfigError

NAMES = ("adam", "adamw", "sgd")


def optimizer_of(model: nn.Module, training: Training, settings: Finetuning) -> torch.optim.Optimizer:
    """The optimiser of one stretch: what `settings` names, else what the task was trained with.

    The fused kernels take one call a step where torch has them for the device; they work element by element.

    Raises: ConfigError for an unknown name, a model without trainable parameters or a value out of its range.
    """
    name = settings.optimizer or training.optimizer
    decay = training.weight_decay if settings.weight_decay is None else settings.weight_decay
    _check(name, settings, decay)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        fix = "Set requires_grad on what is to be trained."
        raise ConfigError("the model has no trainable parameter", where=type(model).__name__, fix=fix)
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    rate = settings.learning_rate
    if name == "sgd":
        nesterov = training.momentum > 0
        return torch.optim.SGD(
            parameters, lr=rate, momentum=training.momentum, weight_decay=decay, nesterov=nesterov, fused=fused
        )
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, weight_decay=decay, fused=fused)


def _check(name: str, settings: Finetuning, decay: float) -> None:
    if name not in NAMES:
        raise ConfigError("there is no such optimizer", value=name, fix=did_you_mean(name, NAMES))
    for field, value, low, high in (
        ("epochs", settings.epochs, 0.0, float("inf")),
        ("learning_rate", settings.learning_rate, 0.0, float("inf")),
        ("final_learning_rate", settings.final_learning_rate, 0.0, float("inf")),
        ("weight_decay", decay, 0.0, float("inf")),
        ("average", settings.average, 0.0, 1.0),
    ):
        if not low <= value < high:
            raise ConfigError(f"must lie in {low} to {high}", where=f"Finetuning.{field}", value=value)
