"""How many weights each tensor keeps when a model keeps a given share of all.

`density` is the share that is kept, 0..1. Allocations by shape give a density for each tensor at once; allocations by
score ("global", "lamp") compare weights of different tensors and are made anew whenever a mask shrinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

from torch import Tensor

from featherweight.numerics.masks import count_largest, lamp_scores

Score = Literal["global", "lamp"]
Blend = Callable[[float, float], float]
"""The density now, of the density at the start and the one aimed at."""


@dataclass(frozen=True)
class Share:
    """One tensor that competes: all its weights, the density that pruning began with, how many weights are left.

    `survivors()` gives those that are left, shape (left,).
    """

    size: int
    start: float
    left: int
    survivors: Callable[[], Tensor]


@dataclass(frozen=True)
class Goal:
    """Where pruning is to end: a density for each tensor, or one for all together shared out by score."""

    densities: tuple[float, ...] | None = None
    overall: float = 1.0
    score: Score = "lamp"

    def counts(self, tensors: Sequence[Share], on: Blend) -> list[int]:
        """How many weights each tensor keeps now: at least one, at most those that are left."""
        if self.densities is not None:
            aims = zip(tensors, self.densities, strict=True)
            counts = [round(item.size * on(item.start, min(item.start, last))) for item, last in aims]
        else:
            counts = self._by_score(tensors, on)
        return [max(1, min(count, item.left)) for count, item in zip(counts, tensors, strict=True)]

    def _by_score(self, tensors: Sequence[Share], on: Blend) -> list[int]:
        size = sum(item.size for item in tensors)
        first = sum(item.size * item.start for item in tensors) / size
        left = [item.left for item in tensors]
        total = min(sum(left), round(size * on(first, min(first, self.overall))))
        score = _magnitudes if self.score == "global" else _lamp
        return count_largest([partial(score, item) for item in tensors], left, total)


def _magnitudes(share: Share) -> Tensor:
    return share.survivors().abs()


def _lamp(share: Share) -> Tensor:
    return lamp_scores(share.survivors())


def erk_densities(shapes: Sequence[tuple[int, ...]], density: float) -> list[float]:
    """Erdos-Renyi-kernel densities: in proportion to (sum of the axes) / (product of the axes), at most 1.

    Evci et al. 2020 (ICML, "Rigging the lottery"), section 3: small tensors are kept denser.
    """
    sizes = [prod(shape) for shape in shapes]
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    dense: set[int] = set()
    while len(dense) < len(shapes):
        free = [index for index in range(len(shapes)) if index not in dense]
        budget = density * sum(sizes) - sum(sizes[index] for index in dense)
        scale = budget / sum(raw[index] * sizes[index] for index in free)
        full = {index for index in free if scale * raw[index] > 1}
        if not full:
            return [1.0 if index in dense else max(0.0, scale * raw[index]) for index in range(len(shapes))]
        dense |= full
    return [1.0] * len(shapes)


def cubic(progress: float) -> Blend:
    """Fast at first, slow at the end; `progress` 0..1. Zhu and Gupta 2017 (arXiv 1710.01878), equation 1."""
    return lambda first, last: last + (first - last) * (1 - progress) ** 3


def geometric(progress: float) -> Blend:
    """The same share of what is left in every round; `progress` 0..1."""
    return lambda first, last: first * (last / first) ** progress
