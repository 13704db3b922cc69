"""Which elements of tensors to keep: exact counts, thresholds and scores that can be compared between layers.

A mask is a bool tensor of the weight's shape, True where the weight is kept. Everything here is deterministic: of
equal scores the one that comes first in row-major order (and in the earlier tensor) is kept.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import UsageError

Floats = NDArray[np.float32] | NDArray[np.float64]


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """The mask of the `count` largest scores (any shape, no NaN), exactly `count` of them True.

    Costs O(n): one selection instead of a sort, on one copy of the scores.

    Raises: UsageError when `count` is not in 0..scores.numel().
    """
    _check(count, scores.numel())
    if count in (0, scores.numel()):
        return torch.full(scores.shape, count > 0, dtype=torch.bool, device=scores.device)
    threshold = _largest(_array(scores).copy(), count)
    mask = scores.detach() > threshold
    equal = torch.nonzero((scores.detach() == threshold).flatten()).flatten()
    mask.view(-1)[equal[: count - int(mask.sum())]] = True
    return mask


def count_largest(scores: Sequence[Callable[[], Tensor]], sizes: Sequence[int], count: int) -> list[int]:
    """How many of the `count` largest scores of all tensors together belong to each tensor.

    Each item of `scores` computes the scores of one tensor (as many as `sizes` says, no NaN), once to find the
    threshold and once to count: beside one float32 array of all scores only one tensor's are held at a time.

    Raises: UsageError when `count` is not in 0..sum(sizes).
    """
    _check(count, sum(sizes))
    if count == 0:
        return [0] * len(sizes)
    joined = np.empty(sum(sizes), dtype=np.float32)
    ends = np.cumsum(sizes)
    for compute, size, end in zip(scores, sizes, ends, strict=True):
        joined[end - size : end] = _array(compute())
    threshold = np.float32(_largest(joined, count))
    above, equal = [], []
    for compute, size, end in zip(scores, sizes, ends, strict=True):
        part = joined[end - size : end]
        part[:] = _array(compute())
        above.append(int(np.count_nonzero(part > threshold)))
        equal.append(int(np.count_nonzero(part == threshold)))
    missing = count - sum(above)
    taken = np.minimum(np.cumsum(equal), missing)  # earlier tensors first
    return [high + int(ties) for high, ties in zip(above, np.diff(taken, prepend=0), strict=True)]


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

    Given in ascending order, shape (n,), float32; pruning by score is pruning by magnitude within a tensor. The scores
    are comparable between layers of any scale, and the largest weight of every tensor scores 1, so that no layer dies
    before the others. Lee et al. 2021 (ICLR, "Layer-adaptive sparsity for the magnitude-based pruning"), equation 4.
    """
    squares = np.sort(_array(weight.abs()))[::-1].astype(np.float64)
    squares *= squares
    scores = squares / np.maximum(np.cumsum(squares), np.finfo(np.float64).tiny)
    return torch.from_numpy(scores[::-1].astype(np.float32))


def _check(count: int, total: int) -> None:
    if not 0 <= count <= total:
        raise UsageError(f"can keep 0 to {total} elements", value=count)


def _array(scores: Tensor) -> Floats:
    """The scores as a flat array that holds each of them exactly."""
    flat = scores.detach().flatten().to("cpu")
    array: Floats = (flat if flat.dtype == torch.float64 else flat.float()).numpy()
    return array


def _largest(values: Floats, count: int) -> float:
    """The `count`-th largest of `values`, which are put into another order."""
    place = len(values) - count
    values.partition(place)
    return float(values[place])
