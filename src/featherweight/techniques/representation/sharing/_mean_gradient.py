"""Shared values that are trained with the mean instead of the sum of their weights' gradients."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.training.constraints import Constraint


@dataclass(frozen=True)
class MeanGradient:
    """A constraint whose gradient is divided by how many weights share the value; all else is that of `inner`.

    `sharers`: how many weights move with each weight, shape of the weight, at least 1.
    """

    inner: Constraint
    sharers: Tensor

    @classmethod
    def of(cls, inner: Constraint, weight: Tensor) -> "MeanGradient":
        """The wrapper for a constraint of `weight`: the summed gradient of ones is the number of sharers."""
        return cls(inner, inner.gradient(torch.ones_like(weight.detach())).clamp(min=1))

    def gradient(self, gradient: Tensor) -> Tensor:
        """See Constraint.gradient."""
        return self.inner.gradient(gradient) / self.sharers

    def project(self, weight: Tensor) -> Tensor:
        """See Constraint.project."""
        return self.inner.project(weight)

    def updated(self, weight: Tensor) -> "MeanGradient":
        """See Constraint.updated."""
        return MeanGradient(self.inner.updated(weight), self.sharers)

    def state(self) -> dict[str, Tensor]:
        """See Constraint.state."""
        return self.inner.state()

    def restored(self, state: Mapping[str, Tensor]) -> "MeanGradient":
        """See Constraint.restored."""
        inner = self.inner.restored(state)
        return MeanGradient(inner, inner.gradient(torch.ones_like(self.sharers)).clamp(min=1))
