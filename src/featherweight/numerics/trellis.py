"""The trellis of dependent quantization: the grid of a level follows from the parities of the levels before it.

Levels k of a row are read one after the other. A machine of eight states begins each row in state 0 and goes from
state s to `NEXT[s][k & 1]`. An even state has the even multiples of the step, an odd one the odd multiples and zero:
the value of k is step * (2 k - sgn(k) (s & 1)). So a fine grid of spacing `step` costs the levels of a grid twice as
coarse, and who quantizes picks the path (about 1 dB at the same rate). Source: ISO/IEC 15938-17 (NNC); H. Schwarz et
al., "Improved quantization and transform coefficient coding for the Enhanced Compression Model", 2018; catalogue, B16.

The machine is linear over GF(2): next = A s xor 2 (k & 1), with A^4 = 1. So s & 1 of a place is the parity of all
levels that lie 2 or 3 places (mod 4) before it, and rows are read without a loop over their columns.
"""

import numpy as np
from numpy.typing import NDArray

from featherweight.numerics.rate import Costs, Floats, Levels

NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))
"""The next state, by state and by parity of the level."""

_STATES = len(NEXT)
_BEFORE = [[(s, p) for s in range(_STATES) for p in (0, 1) if NEXT[s][p] == after] for after in range(_STATES)]
SOURCES = np.array([[s for s, _ in pairs] for pairs in _BEFORE])
"""The two states before each state, (8, 2)."""

BRANCHES = np.array([[2 * (s & 1) + p for s, p in pairs] for pairs in _BEFORE])
"""How each of them leads there, (8, 2): 2 * grid + parity of the level, the grid being that of the state before."""

_ROWS = 1 << 12  # rows searched at a time: bounds the memory of the decisions


def multiples(levels: Levels) -> Levels:
    """The multiples of the step that levels stand for, both int32 of shape (rows, columns); |level| below 2^30."""
    found: Levels = 2 * levels - np.sign(levels).astype(np.int32) * odd_states(levels)
    return found


def odd_states(levels: Levels) -> NDArray[np.int8]:
    """1 for each level, shape (rows, columns), that is met in an odd state, else 0."""
    rows, columns = levels.shape
    parity = np.zeros((rows, columns + 3), np.int8)
    parity[:, 3:] = levels & 1
    fours = -(-columns // 4)
    odd = np.zeros((rows, fours * 4), np.int8)
    odd[:, :columns] = parity[:, 1 : columns + 1] ^ parity[:, :columns]
    lanes = odd.reshape(rows, fours, 4)
    np.bitwise_xor.accumulate(lanes, axis=1, out=lanes)
    return odd[:, :columns]


def search(x: Floats, importance: NDArray[np.floating], price: float, costs: Costs | None) -> Levels:
    """The path of levels with the least sum of importance * (x - multiple)^2 + price * bits, by Viterbi's algorithm.

    `x`: weights in steps, (rows, columns), each row a trellis of its own; `importance` is broadcast to it. The bits of
    a level are those of `costs` at its place (None: no bits count).
    """
    rows, columns = x.shape
    weights = np.broadcast_to(importance, x.shape)
    found = np.zeros((rows, columns), np.int32)
    for first in range(0, rows, _ROWS):
        part = slice(first, first + _ROWS)
        local = None if costs is None else Costs(costs.classes[part], costs.table, costs.grids)
        sizes, error = _branches(np.abs(x[part]), weights[part], price, local)
        kept = _best_path(error)
        found[part] = np.take_along_axis(sizes, kept[None], axis=0)[0]
    return np.where(np.signbit(x), -found, found)


def _branches(
    sizes: Floats, importance: NDArray[np.floating], price: float, costs: Costs | None
) -> tuple[Levels, Floats]:
    """For both grids and parities (2 grid + parity, first axis) the best level and its cost, (4, rows, columns)."""
    levels = np.empty((4, *sizes.shape), np.int32)
    least = np.full((4, *sizes.shape), np.inf, np.float32)
    for grid in (0, 1):
        told = None if costs is None else costs.on(grid)
        for parity in (0, 1):
            here = 2 * grid + parity
            near = np.rint(((sizes + grid) / 2 - parity) / 2).astype(np.int32) * 2 + parity
            near = np.maximum(near, parity)
            for level in (near, np.maximum(near - 2, parity)) if parity else (near, np.maximum(near - 2, 0), 0 * near):
                error = importance * (sizes - (2 * level - grid * (level > 0))) ** 2
                cost = error if told is None else error + price * told.bits(level)
                better = cost < least[here]
                least[here] = np.where(better, cost, least[here])
                levels[here] = np.where(better, level, levels[here])
    return levels, least


def _best_path(costs: Floats) -> NDArray[np.intp]:
    """Which branch (2 grid + parity) the cheapest path takes at each place; `costs` (4, rows, columns)."""
    _, rows, columns = costs.shape
    total = np.full((rows, _STATES), np.inf, np.float64)
    total[:, 0] = 0.0
    steps = np.ascontiguousarray(costs.transpose(2, 1, 0))
    second = np.empty((columns, rows, _STATES), np.bool_)
    for column in range(columns):
        both = total[:, SOURCES] + steps[column][:, BRANCHES]
        np.less(both[:, :, 1], both[:, :, 0], out=second[column])
        total = np.where(second[column], both[:, :, 1], both[:, :, 0])
    state, every = total.argmin(axis=1), np.arange(rows)
    path = np.empty((rows, columns), np.intp)
    for column in reversed(range(columns)):
        choice = second[column, every, state].astype(np.intp)
        path[:, column] = BRANCHES[state, choice]
        state = SOURCES[state, choice]
    return path
