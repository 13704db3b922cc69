"""Values that change from step to step: learning rate and sparsity."""

import math

from featherweight.errors import UsageError


def cosine(step: int, total: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at step `total` - 1 along half a cosine (Loshchilov and Hutter 2017, eq. 5)."""
    return end + (start - end) * (1.0 + math.cos(math.pi * _share(step, total))) / 2.0


def cubic(step: int, total: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at step `total` - 1, fast first (Zhu and Gupta 2017, eq. 1)."""
    return end + (start - end) * (1.0 - _share(step, total)) ** 3


def _share(step: int, total: int) -> float:
    if total < 1 or step < 0:
        raise UsageError("a schedule needs step >= 0 and total >= 1", value=(step, total))
    return min(1.0, step / (total - 1)) if total > 1 else 0.0
