"""Looks once, before any work, whether model, example, data, loss and score fit together; says so in words."""

from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.examples import Batch, Examples, TensorExamples
from featherweight.core.task import Task
from featherweight.errors import DataError, TaskError
from featherweight.training.evaluate import evaluating, gather, to_device
from featherweight.training.losses import loss_of, score_of

SPLITS = ("train", "validation", "calibration")


def check_weights(model: nn.Module, where: str = "model") -> None:
    """Every parameter and buffer holds numbers, and at least one.

    Raises: TaskError naming the first tensor that is empty or holds NaN or infinity.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        subject = f"{where}.{name}"
        if tensor.numel() == 0:
            raise TaskError(
                "the tensor has no elements", where=subject, value=tuple(tensor.shape), fix="Remove the empty layer."
            )
        if tensor.is_floating_point() and not _finite(tensor.detach()):
            bad = int((~torch.isfinite(tensor.detach())).sum())
            raise TaskError(
                "the tensor holds NaN or infinity",
                where=subject,
                value=f"{bad} of {tensor.numel()} values",
                fix="Start from a network that was trained without divergence.",
            )


def check_data(model: nn.Module, task: Task, device: torch.device) -> None:
    """The example and two examples of every split that the task has go through model, loss and score.

    Test data are not looked at.

    Raises: DataError or TaskError, naming the split, what was found and what was expected.
    """
    if example_of(task):
        _forward(model, to_device(example_of(task), device), f"{task.name}.example")
    for split in SPLITS:
        if getattr(task, split) is not None:
            _check_split(model, task, split, device)


def example_of(task: Task) -> tuple[Any, ...]:
    """The example inputs; empty where the task has none (a checkpoint alone, which cannot be run)."""
    return () if task.example is None else task.inputs()


def _finite(tensor: Tensor) -> bool:
    # a sum is finite only if no term is NaN or infinite, and takes no copy of the tensor as isfinite does;
    # a sum that overflows is looked at again
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def _check_split(model: nn.Module, task: Task, split: str, device: torch.device) -> None:
    where = f"{task.name}.{split}"
    examples = task.examples(split)
    batch = gather(examples, torch.arange(min(2, len(examples))), device)
    if example_of(task):
        _compare(batch.inputs, example_of(task), where)
    output = _forward(model, batch.inputs, where)
    if split == "calibration":
        return
    if task.loss is None or task.score is None:
        _check_classes(output, batch, examples, where)
    _check_loss(task, output, batch, where)


def _compare(inputs: tuple[Any, ...], example: tuple[Any, ...], where: str) -> None:
    if len(inputs) != len(example):
        raise DataError(
            "the examples have another number of inputs than the task's example",
            where=where,
            value=len(inputs),
            fix=f"The example has {len(example)}.",
        )
    for number, (given, wanted) in enumerate(zip(inputs, example, strict=True)):
        if not isinstance(given, Tensor) or not isinstance(wanted, Tensor):
            continue
        if given.dtype != wanted.dtype or given.dim() != wanted.dim():
            raise DataError(
                f"input {number} differs from the task's example in type or rank",
                where=where,
                value=f"{given.dtype} {tuple(given.shape)}",
                fix=f"The example is {wanted.dtype} {tuple(wanted.shape)}.",
            )


def _forward(model: nn.Module, inputs: tuple[Any, ...], where: str) -> Any:
    shapes = [f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else part for part in inputs]
    try:
        with evaluating(model):
            output = model(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"the model does not take these inputs: {str(error).splitlines()[0] if str(error) else error!r}",
            where=where,
            value=shapes,
            fix="Give inputs of the shape and type that the model was trained on, the batch in front.",
        ) from error
    if isinstance(output, Tensor) and output.is_floating_point() and bool(torch.isnan(output).any()):
        raise DataError("the model gives NaN for these inputs", where=where, value=shapes, fix="Look for NaN in them.")
    return output


def _check_classes(output: Any, batch: Batch, examples: Examples, where: str) -> None:
    """For the default loss and score: logits (n, classes, ...) and whole class numbers below `classes`."""
    advice = "Give Task(loss=..., score=...) for anything but classification."
    if not isinstance(output, Tensor) or output.dim() < 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise DataError("the output of the model is no logits (n, classes)", where=where, value=got, fix=advice)
    target = examples.target if isinstance(examples, TensorExamples) else batch.target
    if not isinstance(target, Tensor) or target.dtype != torch.int64:
        kind = str(target.dtype) if isinstance(target, Tensor) else type(target).__name__
        raise DataError("the targets are no class numbers (int64)", where=where, value=kind, fix=advice)
    classes = output.shape[1]
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"the targets go from {low} to {high}, but the model knows the classes 0 to {classes - 1}",
            where=where,
            fix="Use the labels and the last layer that belong together.",
        )


def _check_loss(task: Task, output: Any, batch: Batch, where: str) -> None:
    try:
        loss = loss_of(task)(output, batch.target)
        scores = score_of(task)(output, batch.target)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"loss or score do not take the model's output and these targets: {error}", where=where
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise TaskError("the loss must give one number", where=where, value=type(loss).__name__)
    count = len(batch.inputs[0])
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (count,):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise TaskError(f"the score must have shape (n,), here ({count},)", where=where, value=shape)
