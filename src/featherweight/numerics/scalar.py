"""Rate-aware rounding to a uniform grid where every error counts alike and bits are counted by size alone.

Notation: x = |w| / step; k a level, b[k] its bits (sign included), p what a bit costs, in squared steps. Each weight
takes the level with the least

    (x - k)^2 + p b[k]

among the nearest, n, its neighbour towards zero, and zero (as numerics/rounding.py). All of these grow alike with x, so
which of them is the least is told by two thresholds for each n: from `near[n]` on it is n, from `zero[n]` on n - 1.

    n beats n - 1 from  n - 1/2 + p (b[n] - b[n - 1]) / 2
    m beats 0 from      m / 2 + p (b[m] - b[0]) / (2 m)         m = n - 1, or n where n - 1 never is the least

So step and thresholds are found from the sizes that occur and how often (numerics/magnitudes.py), and each weight is
looked at once more to round it. Source: catalogue B19 (entropy-constrained scalar quantization).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.core.native import native
from featherweight.numerics.magnitudes import HALVES, Magnitudes, flat, words
from featherweight.numerics.rate import LEARNING

Floats = NDArray[np.float32]
Symbols = NDArray[np.unsignedinteger]

LARGEST = 254  # sizes above it are rounded to the nearest: their bits differ by less than a hundredth
PASSES = 3  # times that levels are counted and rounded again; plain rounding comes first

_UNSEEN = 0.1  # times that a size occurs which does not
_CAP = 1 << 30  # levels that weights far beyond the grid get
_CHUNK = 1 << 20  # weights handled at a time without native code


@dataclass(frozen=True)
class Grid:
    """A step (a number of float32 above 0) and the thresholds, float32, both of shape (sizes,), see above.

    The thresholds of the last size are those of all larger ones.
    """

    step: float
    near: Floats
    zero: Floats

    def sizes(self, values: Floats) -> NDArray[np.int32]:
        """The sizes of the levels of float32 values, any shape."""
        with np.errstate(over="ignore"):  # as infinity it is as far beyond the grid
            x = np.abs(values) / np.float32(self.step)
        nearest = np.minimum(np.rint(x), np.float32(_CAP))
        place = np.minimum(nearest, len(self.near) - 1).astype(np.int32)
        lower = np.where(x >= self.zero[place], nearest - 1, np.float32(0))
        found: NDArray[np.int32] = np.where(x >= self.near[place], nearest, lower).astype(np.int32)
        return found

    def symbols(self, weight: Tensor, largest: float) -> Symbols:
        """The levels of finite weights, flat, as symbols 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ...

        `largest` is the largest size among the weights; the type of the symbols is the smallest that holds the two that
        it can have. Values of 16 bits are looked up where there are many.
        """
        values = flat(weight)
        kind = _type(2 * int(self.sizes(np.full(1, largest, np.float32))[0]))
        if values.dtype not in HALVES or len(values) <= 1 << 16:
            return self._rounded(values.float().numpy(), kind)
        every = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16)).view(values.dtype)
        bounded = every.float().nan_to_num(0.0, 0.0, 0.0).clamp(-largest, largest)
        return _looked_up(words(values), self._rounded(bounded.numpy(), kind))

    def _rounded(self, values: Floats, kind: type[np.unsignedinteger]) -> Symbols:
        out = np.empty(len(values), kind)
        if native is not None:
            native.round_uniform_f32(values, self.step, self.near, self.zero, out)
            return out
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            sizes = self.sizes(part).astype(np.int64)
            out[start : start + _CHUNK] = 2 * sizes - (np.signbit(part) & (sizes > 0))
        return out


@dataclass(frozen=True)
class Fit:
    """A grid for known sizes: its squared error in squared steps, and the bits of all levels, tables included."""

    grid: Grid
    error: float
    bits: float


def fitted(known: Magnitudes, step: float, price: float) -> Fit:
    """The grid of this step whose thresholds fit the bits of the levels that it gives, at this price of a bit."""
    x = known.sizes / step
    nearest = np.rint(x)
    sizes, grid = nearest, Grid(step, np.zeros(1, np.float32), np.zeros(1, np.float32))
    for _ in range(PASSES):
        grid = _grid(step, price, bits_of(_counts(sizes, known.counts)))
        place = np.minimum(nearest, len(grid.near) - 1).astype(np.int64)
        sizes = np.where(x >= grid.near[place], nearest, np.where(x >= grid.zero[place], nearest - 1, 0))
    counts = _counts(sizes, known.counts)
    return Fit(grid, float((known.counts * (x - sizes) ** 2).sum()), _total(counts, sizes, known.counts))


def bits_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bits of each size, sign included, by how often it occurs."""
    some = counts + _UNSEEN
    bits: NDArray[np.float64] = np.log2(some.sum() / some)
    bits[1:] += 1
    return bits


def _grid(step: float, price: float, bits: NDArray[np.float64]) -> Grid:
    """The thresholds for bits of sizes 0, 1, 2 ..., and a last one for all larger ones: plain rounding."""
    n = np.arange(1, len(bits), dtype=np.float64)
    half = price / 2
    near = n - 0.5 + half * np.diff(bits)
    below = np.maximum(n - 1, 1)  # of 1 that is 0 itself, so its second threshold tells nothing
    zero = np.where(n > 1, below / 2 + half * (bits[:-1] - bits[0]) / below, near)
    both = n / 2 + half * (bits[1:] - bits[0]) / n
    near, zero = np.where(zero > near, both, near), np.where(zero > near, both, zero)
    ends = np.full(1, -np.inf)
    return Grid(step, *(np.concatenate([ends, part, ends]).astype(np.float32) for part in (near, zero)))


def _counts(sizes: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each size up to LARGEST occurs, and behind them all larger ones together."""
    places = np.minimum(sizes, LARGEST + 1).astype(np.int64)
    return np.bincount(places, counts.astype(np.float64), minlength=1).astype(np.float64)


def _total(counts: NDArray[np.float64], sizes: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    """Bits of all levels: entropy, signs, a universal code for larger ones, and what learning the counts costs."""
    used = counts[counts > 0]
    beyond = sizes > LARGEST
    tail = 2 * (weights[beyond] * np.log2(sizes[beyond] / LARGEST)).sum()
    bits = (used * np.log2(used.sum() / used)).sum() + counts[1:].sum()
    return float(bits + tail + LEARNING * len(used))


def _looked_up(bits: NDArray[np.unsignedinteger], table: Symbols) -> Symbols:
    out = np.empty(len(bits), table.dtype)
    if native is None:
        np.take(table, bits, out=out)
        return out
    native.round_uniform_table(bits, table, out)
    return out


def _type(largest: int) -> type[np.unsignedinteger]:
    return np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
