"""An exponential moving average of the weights (Polyak and Juditsky 1992; warm-up as in Tan and Le 2019)."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class Average:
    """Follows the floating parameters and buffers of a model.

    After step t the average moves by 1 - min(decay, (1 + t) / (10 + t)) of the way, so that the first, poor weights
    are forgotten in a short training too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._source = dict(_floating(model))
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._source.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Takes in the weights after step `step` (0, 1, ...)."""
        weight = 1.0 - min(self._decay, (1 + step) / (10 + step))
        for name, tensor in self._source.items():
            self.tensors[name].lerp_(tensor.detach(), weight)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up an average that was stored."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def release(self) -> None:
        """Puts the average into the model."""
        for name, tensor in self._source.items():
            tensor.copy_(self.tensors[name])


def _floating(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    everything = (*model.named_parameters(), *model.named_buffers())
    return [(name, tensor) for name, tensor in everything if tensor.is_floating_point()]
