"""Weights that share values: sums and means over each cluster, in linear time and little memory."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from featherweight.entropy.base import ALONE, Work

_CHUNK = 1 << 20  # weights handled at a time: the float64 and int32 copies never have the size of the tensor


class Clusters:
    """Which of `count` clusters each weight belongs to: `indices` are integers of any shape, 0..count-1."""

    def __init__(self, indices: Tensor, count: int) -> None:
        self.indices, self.count = indices, count

    @cached_property
    def sizes(self) -> Tensor:
        """How many weights each cluster has, shape (count,), int64."""
        sizes = torch.zeros(self.count, dtype=torch.int64, device=self.indices.device)
        for part in torch.split(self._flat, _CHUNK):
            sizes += torch.bincount(part, minlength=self.count)
        return sizes

    @cached_property
    def firsts(self) -> Tensor:
        """The flat place of the first weight of each cluster, shape (count,), int64; 0 for an empty cluster."""
        firsts = np.zeros(self.count, np.int64)
        flat = self._flat.cpu().numpy()
        for start in reversed(range(0, len(flat), _CHUNK)):
            part = flat[start : start + _CHUNK][::-1]
            firsts[part] = np.arange(start + len(part) - 1, start - 1, -1)  # the last one assigned stays
        return torch.from_numpy(firsts).to(self.indices.device)

    def sums(self, weight: Tensor) -> Tensor:
        """Sum over each cluster, shape (count,), float64, always added in the same order on a CPU."""
        sums = torch.zeros(self.count, dtype=torch.float64, device=weight.device)
        for part, values in self._parts(weight):
            sums += torch.bincount(part, values.double(), self.count)
        return sums

    def means(self, weight: Tensor) -> Tensor:
        """Mean over each cluster, shape (count,), type of `weight`: exactly the value where all are equal.

        An empty cluster gets 0.
        """
        if weight.numel() == 0:
            return torch.zeros(self.count, dtype=weight.dtype, device=weight.device)
        base = weight.detach().reshape(-1)[self.firsts.to(weight.device)].double()
        offsets = torch.zeros_like(base)
        for part, values in self._parts(weight):
            # relative to the first member: no rounding at all while the members are equal
            offsets += torch.bincount(part, values.double() - base[part.int()], self.count)
        sizes = self.sizes.to(weight.device)
        return torch.where(sizes > 0, base + offsets / sizes.clamp(min=1), 0.0).to(weight.dtype)

    def spread(self, values: Tensor, work: Work = ALONE) -> Tensor:
        """Each weight's value of its cluster; differentiable in `values`, shape (count,)."""
        flat = self._flat.to(values.device)
        if values.requires_grad and torch.is_grad_enabled():
            return values.index_select(0, flat.int()).reshape(self.indices.shape)
        out = torch.empty(flat.shape, dtype=values.dtype, device=values.device)
        for part, places in zip(torch.split(out, _CHUNK), torch.split(flat, _CHUNK), strict=True):
            work.check()
            torch.index_select(values, 0, places.int(), out=part)
        return out.reshape(self.indices.shape)

    @property
    def _flat(self) -> Tensor:
        return self.indices.reshape(-1)

    def _parts(self, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        flat = self._flat.to(weight.device)
        yield from zip(torch.split(flat, _CHUNK), torch.split(weight.detach().reshape(-1), _CHUNK), strict=True)
