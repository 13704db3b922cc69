"""The mean score of a model over a set of examples."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.examples import Batch, Examples
from featherweight.errors import DataError, DivergedError
from featherweight.training.losses import Score

_ELEMENTS = 2**21  # input elements a batch: large enough to hide Python, small enough for wide activations
_MOST = 4096  # examples a batch at most


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with every tensor in it (tuples, lists, dicts) on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(item, device) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(to_device(item, device) for item in value)
    return value


def gather(examples: Examples, indices: Tensor, device: torch.device) -> Batch:
    """The examples at `indices` on `device`."""
    batch = examples.gather(indices)
    return batch if device.type == "cpu" else Batch(to_device(batch.inputs, device), to_device(batch.target, device))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module has the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def batch_size(examples: Examples) -> int:
    """How many examples an evaluation takes at once: about two million input elements."""
    first = examples.gather(torch.zeros(1, dtype=torch.int64)).inputs
    elements = sum(part.numel() for part in first if isinstance(part, Tensor))
    return max(1, min(_MOST, len(examples), _ELEMENTS // max(1, elements)))


def slices(examples: Examples, size: int, limit: int | None = None) -> Iterator[Tensor]:
    """The indices 0, 1, ... of at most `limit` examples in batches of `size`."""
    count = len(examples) if limit is None else min(limit, len(examples))
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def evaluate(model: nn.Module, examples: Examples, score: Score, *, where: str = "data", device: Any = "cpu") -> float:
    """The mean of `score(output, target)` over all examples, in evaluation mode, without gradients.

    Raises: DivergedError when model or score give NaN; DataError when `score` does not give one value per example.
    """
    device = torch.device(device)
    total = 0.0
    with evaluating(model):
        for indices in slices(examples, batch_size(examples)):
            batch = gather(examples, indices, device)
            output = model(*batch.inputs)
            _check_output(output, where)
            total += _summed(score(output, batch.target), len(indices), where)
    if not math.isfinite(total):
        raise DivergedError("the score is no finite number", where=where, value=total, fix="Look at Task(score=...).")
    return total / len(examples)


def _check_output(output: Any, where: str) -> None:
    if isinstance(output, Tensor) and output.is_floating_point() and bool(torch.isnan(output).any()):
        raise DivergedError(
            "the output of the model holds NaN",
            where=where,
            value=f"{int(torch.isnan(output).sum())} of {output.numel()} values",
            fix="Look for NaN in the examples, or lower the learning rate or strength of the last step.",
        )


def _summed(scores: Tensor, count: int, where: str) -> float:
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (count,):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise DataError(
            "the score must be one value per example", where=where, value=shape, fix=f"Return shape ({count},)."
        )
    return float(scores.double().sum())
