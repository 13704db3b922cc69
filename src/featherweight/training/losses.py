"""The loss and the score that a task has when it names none: both for classification."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from featherweight.core.task import Task

Loss = Callable[[Any, Any], Tensor]
Score = Callable[[Any, Any], Tensor]


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Mean cross entropy of logits (n, classes, ...) and class numbers (n, ...); `label_smoothing` in 0..1."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, label_smoothing=label_smoothing)

    return loss


def top1(output: Tensor, target: Tensor) -> Tensor:
    """1.0 where the arg-max of the logits (n, classes) is the target (n,), else 0.0; shape (n,)."""
    return (output.argmax(dim=1) == target).to(torch.float32)


def loss_of(task: Task) -> Loss:
    """The task's loss, or cross entropy with the task's label smoothing."""
    return task.loss if task.loss is not None else cross_entropy(task.training.label_smoothing)


def score_of(task: Task) -> Score:
    """The task's score, or `top1`."""
    return task.score if task.score is not None else top1
