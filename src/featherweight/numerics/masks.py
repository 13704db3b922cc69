"""Which elements of tensors to keep: exact counts, thresholds and scores that can be compared between layers.

A mask is a bool tensor of the weight's shape, True where the weight is kept. Everything here is deterministic: of
equal scores the one that comes first in row-major order (and in the earlier tensor) is kept.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import UsageError

Scores = NDArray[np.float32] | NDArray[np.float64]


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """The mask of the `count` largest scores (any shape; finite or -inf), exactly `count` of them True.

    Raises: UsageError when `count` is not in 0..scores.numel().
    """
    return keep_largest_of([scores], count)[0]


def keep_largest_of(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """The masks of the `count` largest scores of all tensors together.

    Costs O(n): one selection instead of a sort, on one copy of the scores.

    Raises: UsageError when `count` is not in 0..(number of scores).
    """
    total = sum(part.numel() for part in scores)
    if not 0 <= count <= total:
        raise UsageError(f"can keep 0 to {total} elements", value=count)
    if count in (0, total):
        return [torch.full(part.shape, count > 0, dtype=torch.bool, device=part.device) for part in scores]
    threshold = _largest(_joined(scores), count)
    masks = [part.detach() > threshold for part in scores]
    missing = count - sum(int(mask.sum()) for mask in masks)
    for mask, part in zip(masks, scores, strict=True):
        equal = torch.nonzero((part.detach() == threshold).flatten()).flatten()[:missing]
        mask.view(-1)[equal] = True
        missing -= len(equal)
    return masks


def keep_above_std(weight: Tensor, mask: Tensor, quality: float) -> Tensor:
    """The mask of the weights above `quality` (>= 0) times the standard deviation of those that `mask` still keeps.

    Han et al. 2015, section 3: the quality parameter. Zeros of earlier rounds would make the deviation too small, so
    only survivors count. Never gives back what `mask` has pruned.
    """
    survivors = weight.detach()[mask].to(torch.float64)
    if survivors.numel() == 0:
        return mask.clone()
    return mask & (weight.detach().abs() > quality * float(survivors.std(correction=0)))


def lamp_scores(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitudes: w^2 over the sum of all squares in the tensor that are not smaller.

    Given in ascending order, shape (n,), float64; pruning by score is pruning by magnitude within a tensor. The scores
    are comparable between layers of any scale, and the largest weight of every tensor scores 1, so that no layer dies
    before the others. Lee et al. 2021 (ICLR, "Layer-adaptive sparsity for the magnitude-based pruning"), equation 4.
    """
    ascending = np.sort(_joined([weight.abs()])).astype(np.float64) ** 2
    not_smaller = np.cumsum(ascending[::-1])[::-1]
    return torch.from_numpy(ascending / np.maximum(not_smaller, np.finfo(np.float64).tiny))


def _joined(scores: Sequence[Tensor]) -> Scores:
    """One numpy copy of all scores, wide enough to hold each of them exactly."""
    wide = any(part.dtype == torch.float64 for part in scores)
    dtype = torch.float64 if wide else torch.float32
    flat = [part.detach().flatten().to("cpu", dtype) for part in scores]
    joined: Scores = np.concatenate([part.numpy() for part in flat])
    return joined


def _largest(values: Scores, count: int) -> float:
    """The `count`-th largest of `values`, which are put into another order."""
    place = len(values) - count
    values.partition(place)
    return float(values[place])
