"""What is to be kept: model, example input, data, loss and score, said once by the user."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.examples import Examples, as_examples
from featherweight.errors import TaskError


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the user's network is trained; techniques take these as the base that they scale."""

    optimizer: str = "adam"  # "adam", "adamw" or "sgd" (with Nesterov momentum)
    learning_rate: float = 1e-3  # of the original training, > 0
    momentum: float = 0.9  # for sgd, 0..1
    weight_decay: float = 0.0  # >= 0; decoupled with adamw, in the gradient otherwise
    batch_size: int = 64  # examples a step, >= 1
    epochs: float = 10.0  # of the original training, >= 0
    label_smoothing: float = 0.0  # of the default loss, 0..1


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network and what counts as keeping it.

    `train`, `validation`, `calibration` and `test` take tensors `(inputs, target)`, a Dataset, a DataLoader or
    Examples. Nothing is ever chosen on `test`; techniques cannot see it. `loss(output, target)` gives a scalar,
    `score(output, target)` one value per example (shape (n,), higher is better, default: 1 where the arg-max is
    the target); the score of a set is the mean.
    """

    model: nn.Module | Callable[[], nn.Module]  # trained network, or a function that builds it
    example: Any  # one input (batch in front), or a tuple of the positional inputs
    train: Any = None
    validation: Any = None
    calibration: Any = None  # unlabelled use; default: the training data
    test: Any = None
    loss: Callable[[Any, Any], Tensor] | None = None  # default: cross entropy
    score: Callable[[Any, Any], Tensor] | None = None
    augment: Callable[[tuple[Any, ...], torch.Generator], tuple[Any, ...]] | None = None  # training inputs only
    training: Training = field(default_factory=Training)
    name: str = "model"

    def build(self) -> nn.Module:
        """The trained network itself: `model`, or what calling it gives.

        Raises: TaskError when that is no nn.Module.
        """
        made = self.model if isinstance(self.model, nn.Module) else self.model()
        if not isinstance(made, nn.Module):
            raise TaskError(
                "model must be an nn.Module or a function that returns one",
                where=self.name,
                value=type(made).__name__,
            )
        return made

    def inputs(self) -> tuple[Any, ...]:
        """The example as positional arguments of the model."""
        return tuple(self.example) if isinstance(self.example, tuple | list) else (self.example,)

    def examples(self, split: str) -> Examples:
        """The examples of a split: "train", "validation", "calibration" or "test".

        Raises: TaskError when the task does not have it.
        """
        source = getattr(self, split)
        if source is None and split == "calibration":
            source = self.train if self.train is not None else self.validation
        if source is None:
            raise TaskError(
                f"the task has no {split} data",
                where=self.name,
                fix=f"Give Task(..., {split}=...), or leave out the steps that need it.",
            )
        return as_examples(source, where=f"{self.name}.{split}")
