"""Repair of a network that lost channels, from calibration inputs alone: no labels, no gradients."""

from typing import Literal, TypeAlias

from torch import nn

from featherweight.core.context import Context
from featherweight.graph.cells import Ids
from featherweight.graph.surgery import Anatomy
from featherweight.training.capture import recalibrate

Repair: TypeAlias = Literal["none", "statistics", "least_squares"]


def repaired(repair: Repair, before: nn.Module, after: nn.Module, known: Anatomy, atoms: Ids, context: Context) -> None:
    """Changes the weights of `after` in place so that it computes more nearly what `before` does."""
    if repair != "none":
        recalibrate(after, context.batches("calibration", 256))
