"""Weights to whole numbers of steps, with the rate in mind: each rounding weighs its error against its bits.

Notation: x = w / step, (rows, columns); k the levels; h the importance of a squared error at each place (broadcast to
x); `price` what a bit costs, in squared steps; R(k) its bits at its place. What is minimised is

    J = sum of h (x - k)^2 + price R(k).

At a high rate the error of an entropy-coded uniform quantizer is step^2 / 12 and falls by 2 ln 2 a bit, so error and
bits are in balance at `price` = ln 2 / 6 (`BALANCE`) for h = 1. Sources: catalogue B16 (RDOQ of NNC) and B19 (ECSQ).
"""

import math

import numpy as np
from numpy.typing import NDArray

from featherweight.numerics import trellis
from featherweight.numerics.rate import Costs, Floats, Levels, RateModel

BALANCE = math.log(2) / 6
DEPENDENT_BALANCE = 4 * 0.7 * math.log(2) / 6  # steps of the trellis are half as wide as those of a grid: NNC's factor

PASSES = 2  # times that levels are counted and rounded again; more change the result by less than 0.1 %


def rounded(x: Floats) -> Levels:
    """The nearest levels, the even one of two that are equally near."""
    return np.rint(x).astype(np.int32)


def rate_rounded(x: Floats, importance: NDArray[np.floating], price: float, costs: Costs) -> Levels:
    """The levels with the least J among the nearest, its neighbour towards zero, and zero."""
    sizes = np.abs(x)
    best = np.rint(sizes).astype(np.int32)
    nearest = best
    least = importance * (sizes - best) ** 2 + price * costs.bits(best)
    for other in (np.maximum(nearest - 1, 0), np.zeros_like(nearest)):
        cost = importance * (sizes - other) ** 2 + price * costs.bits(other)
        better = cost < least
        least, best = np.where(better, cost, least), np.where(better, other, best)
    return np.where(np.signbit(x), -best, best)


def cost_of(x: Floats, levels: Levels, importance: NDArray[np.floating], price: float, costs: Costs) -> float:
    """J of these levels."""
    return float((importance * (x - levels) ** 2 + price * costs.bits(np.abs(levels))).sum())


def quantized(x: Floats, importance: NDArray[np.floating], price: float, model: RateModel) -> Levels:
    """Levels of a uniform grid: plain rounding, then `PASSES` times with the bits of the levels before."""
    levels = rounded(x)
    for _ in range(PASSES if price > 0 else 0):
        levels = rate_rounded(x, importance, price, model.costs(levels))
    return levels


def dependent_quantized(x: Floats, importance: NDArray[np.floating], price: float, model: RateModel) -> Levels:
    """Levels of the trellis (numerics/trellis.py), found by Viterbi's algorithm; x in steps of the trellis."""
    levels = trellis.search(x, importance, 0.0, None)
    for _ in range(PASSES if price > 0 else 0):
        levels = trellis.search(x, importance, price, model.costs(levels, trellis.odd_states(levels)))
    return levels
