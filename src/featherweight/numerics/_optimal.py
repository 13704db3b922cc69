"""The best split of a line of weighted points into intervals: exact one-dimensional k-means.

Dynamic programming over D[j][m], the least error of the first m points in j intervals; the best last split does not
move left when m grows, so each row is found by divide and conquer in O(n log n) (Wu 1991, "Optimal quantization by
matrix searching"; Groenlund et al. 2017, arXiv 1701.07204). All middle points of one depth are solved together, as
array operations.
"""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Places = NDArray[np.int64]


def optimal_starts(totals: Doubles, intervals: int) -> Places:
    """Where the optimal intervals begin: shape (intervals,), ascending, the first is 0.

    `totals` (3, n + 1): weight, weight x value and weight x value^2 of the first m points, m = 0..n; points ascend
    and have positive weight. `intervals` in 1..n.
    """
    weight, first, second = _centred(totals)
    points = len(weight) - 1
    errors = _cost(weight, first, second, np.zeros(points, dtype=np.int64), np.arange(1, points + 1))
    splits = np.zeros((intervals, points), dtype=np.int32)
    for row in range(1, intervals):
        errors, splits[row] = _next_row(errors, row, (weight, first, second))
    starts = np.zeros(intervals, dtype=np.int64)
    end = points - 1
    for row in range(intervals - 1, 0, -1):
        starts[row] = splits[row, end]
        end = int(starts[row]) - 1
    return starts


def _centred(totals: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """The same totals for values around their mean, where differences of squares lose fewest digits."""
    weight, first, second = totals
    mean = first[-1] / weight[-1]
    return weight, first - mean * weight, second - 2 * mean * first + mean**2 * weight


def _cost(weight: Doubles, first: Doubles, second: Doubles, start: Places, end: Places) -> Doubles:
    """Squared error around the mean of the points start..end-1."""
    mass = weight[end] - weight[start]
    error: Doubles = second[end] - second[start] - (first[end] - first[start]) ** 2 / mass
    return np.maximum(error, 0.0)


def _next_row(errors: Doubles, row: int, totals: tuple[Doubles, Doubles, Doubles]) -> tuple[Doubles, Places]:
    """Least errors with one more interval, for each last point, and where that interval begins.

    Fewer than `row` + 1 points cannot fill `row` + 1 intervals: their error is infinite.
    """
    points = len(errors)
    result, split = np.full(points, np.inf), np.zeros(points, dtype=np.int64)
    low, high = np.array([row]), np.array([points])  # ranges of last points that are still open
    left, right = np.array([row]), np.array([points - 1])  # where their splits can be
    while len(low):
        middle = (low + high) // 2
        stop = np.minimum(right, middle)
        counts = stop - left + 1
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        owner = np.repeat(np.arange(len(middle)), counts)
        candidates = np.arange(len(owner)) - offsets[owner] + left[owner]
        found = errors[candidates - 1] + _cost(*totals, candidates, middle[owner] + 1)
        best = np.minimum.reduceat(found, offsets)
        hits = np.flatnonzero(found == best[owner])
        chosen = candidates[hits[np.searchsorted(owner[hits], np.arange(len(middle)))]]
        result[middle], split[middle] = best, chosen
        lows, highs = np.stack([low, middle + 1], 1).ravel(), np.stack([middle, high], 1).ravel()
        lefts, rights = np.stack([left, chosen], 1).ravel(), np.stack([chosen, right], 1).ravel()
        more = lows < highs
        low, high, left, right = lows[more], highs[more], lefts[more], rights[more]
    return result, split
