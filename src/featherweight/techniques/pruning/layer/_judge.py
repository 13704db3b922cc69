"""How well a network does without some of its blocks, its batch-norm statistics renewed: loss or features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featherweight.core.context import Context
from featherweight.core.examples import Batch
from featherweight.graph.blocks import Block, without
from featherweight.graph.trace import evaluating
from featherweight.training.capture import recalibrate

Criterion: TypeAlias = Literal["loss", "features"]


@contextmanager
def trial(model: nn.Module, blocks: Sequence[Block], batches: Sequence[Batch]) -> Iterator[nn.Module]:
    """The model without these blocks, with the batch-norm statistics of the batches; afterwards it is as it was."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    old = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]
    try:
        with without(model, blocks), evaluating(model):
            recalibrate(model, batches)
            yield model
    finally:
        with torch.no_grad():
            for buffer, values in old:
                buffer.copy_(values)


class Judge:
    """Measures a network without blocks on calibration batches: the less, the better.

    "loss" is the task's mean loss, with labels. "features" is the squared error of all that the network gives over its
    variance, against the whole network, without labels.
    """

    def __init__(self, criterion: Criterion, model: nn.Module, batches: Sequence[Batch], context: Context) -> None:
        self._model, self._batches, self._context = model, batches, context
        self._wanted: list[list[Tensor]] = []
        if criterion == "features":
            with trial(model, [], batches), torch.no_grad():
                self._wanted = [_tensors(model(*batch.inputs)) for batch in batches]
        self._criterion = criterion

    def __call__(self, gone: Sequence[Block]) -> float:
        """The measure without these blocks."""
        with trial(self._model, gone, self._batches), torch.no_grad():
            return self._loss() if self._criterion == "loss" else self._error()

    def _loss(self) -> float:
        total = 0.0
        for batch in self._batches:
            total += float(self._context.loss(self._model(*batch.inputs), batch.target)) * _examples(batch)
        return total / sum(_examples(batch) for batch in self._batches)

    def _error(self) -> float:
        error = spread = 0.0
        for batch, wanted in zip(self._batches, self._wanted, strict=True):
            for found, target in zip(_tensors(self._model(*batch.inputs)), wanted, strict=True):
                error += float((found - target).double().square().sum())
                spread += float((target - target.mean(0)).double().square().sum())
        return error / max(spread, 1e-12)


def _examples(batch: Batch) -> int:
    return next((len(item) for item in _tensors(batch.inputs)), 1)


def _tensors(tree: object) -> list[Tensor]:
    return [item for item in torch.utils._pytree.tree_leaves(tree) if isinstance(item, Tensor) and item.dim()]
