"""What levels will cost a coder, as quantizers need it: bits by size of the level and by its surroundings.

A level is a whole number of steps; `levels` are matrices (rows, columns) in the order in which a coder meets them. An
adaptive coder tells likely from unlikely levels by those it has coded already. Here the surroundings of a place are a
class: how large the two levels to its left and the three above it are, and on the trellis of dependent levels also
whether the state is odd (numerics/trellis.py). The model counts sizes by class, so its total is
that of an ideal coder with these classes, plus what it costs to learn the counts. A quantizer counts, quantizes with
the bits that were counted, and counts again. Source: catalogue, B16 (contexts of DeepCABAC) and B19 (ECSQ).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int32]
Classes = NDArray[np.uint8]
States = NDArray[np.int8]
Floats = NDArray[np.float32]

LARGEST = 255  # sizes above it are told by a universal code

_BORDERS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 40, 60, 100])
LEARNING = 3.0  # bits that an adaptive coder loses for each size that it meets in a class
_PRIOR = 2.0  # counts that every class borrows from the whole: no size is impossible


@dataclass(frozen=True)
class Costs:
    """Bits of levels at their places: `table[class, size]`, sign included, with `classes` of shape (rows, columns).

    With two `grids` the second half of the table is for levels that are met in an odd state.
    """

    classes: Classes
    table: Floats
    grids: int = 1

    def on(self, grid: int) -> "Costs":
        """The costs at all places, were they met in an even (0) or odd (1) state."""
        if self.grids == 1 or not grid:
            return self
        return Costs(self.classes + np.uint8(len(self.table) // 2), self.table)

    def bits(self, sizes: Levels) -> Floats:
        """Bits of levels of these sizes (not negative) at their places, shape (rows, columns)."""
        return self.at(self.classes, sizes)

    def at(self, classes: Classes, sizes: Levels) -> Floats:
        """Bits of levels of these sizes in places of these classes; any shape, the same for both."""
        top = self.table.shape[1] - 1
        found: Floats = self.table[classes, np.minimum(sizes, top)]
        if sizes.size and int(sizes.max()) > top:
            found = found + 2 * np.log2(np.maximum(sizes, top) / max(top, 1)).astype(np.float32)
        return found


class RateModel(ABC):
    """Tells what a coder asks for levels. Made for one coder; the quantizers know only this."""

    @abstractmethod
    def costs(self, levels: Levels, odd: States | None = None) -> Costs:
        """What levels cost a coder that knows the statistics and the surroundings in `levels`, (rows, columns).

        `odd` tells which of them a trellis met in an odd state; the costs then have two grids.
        """

    @abstractmethod
    def total(self, levels: Levels, odd: States | None = None) -> float:
        """Bits that the coder takes for all of `levels`, (rows, columns), its learning included; `odd` as above."""


class ContextEntropy(RateModel):
    """The entropy of sizes given the class of the surroundings, and one bit for each sign."""

    def costs(self, levels: Levels, odd: States | None = None) -> Costs:
        """See RateModel."""
        classes = surroundings(levels)
        counts = _counts(classes, levels, odd).astype(np.float64)
        grids = 1 if odd is None else 2
        halves = counts.reshape(grids, -1, counts.shape[1])
        whole = halves.sum(axis=1, keepdims=True) + 0.1
        smooth = (halves + _PRIOR * whole / whole.sum(axis=2, keepdims=True)).reshape(counts.shape)
        table = -np.log2(smooth / smooth.sum(axis=1, keepdims=True))
        table[:, 1:] += 1
        return Costs(classes, table.astype(np.float32), grids)

    def total(self, levels: Levels, odd: States | None = None) -> float:
        """See RateModel."""
        counts = _counts(surroundings(levels), levels, odd).astype(np.float64)
        used, sums = counts > 0, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)
        bits = (counts[used] * np.log2(sums[used] / counts[used])).sum()
        beyond = np.abs(levels[np.abs(levels) > LARGEST])
        tail = 2 * np.log2(beyond / LARGEST).sum()
        return float(bits + tail + np.count_nonzero(levels) + LEARNING * np.count_nonzero(used))


def surroundings(levels: Levels) -> Classes:
    """The class of each place, from the two levels to its left, the one above, and the two beside that one."""
    sizes = np.minimum(np.abs(levels), LARGEST).astype(np.int32)
    rows, columns = sizes.shape
    framed = np.zeros((rows + 1, columns + 3), np.int32)
    framed[1:, 2:-1] = sizes
    left, above = framed[1:], framed[:-1]
    around = 2 * left[:, 1 : columns + 1] + left[:, :columns] + 2 * above[:, 2 : columns + 2]
    around += above[:, 1 : columns + 1] + above[:, 3 : columns + 3]
    classes: Classes = np.searchsorted(_BORDERS, around, side="right").astype(np.uint8)
    return classes


def _counts(classes: Classes, levels: Levels, odd: States | None = None) -> NDArray[np.int64]:
    """How often each size occurs in each class, shape (classes, sizes up to the largest); odd states come behind."""
    sizes = np.minimum(np.abs(levels), LARGEST)
    width, height = int(sizes.max(initial=0)) + 1, len(_BORDERS) + 1
    rows = classes.astype(np.int32)
    if odd is not None:
        rows += height * odd
        height *= 2
    return np.bincount((rows * width + sizes).reshape(-1), minlength=width * height).reshape(height, width)
