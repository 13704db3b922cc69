"""One-dimensional k-means: Lloyd's algorithm done exactly on sorted values, and the global optimum.

Notation: n values w sorted ascending, k centroids c sorted ascending, bounds b[j] = (c[j] + c[j+1]) / 2. A cluster of
sorted values is an interval, so sums over clusters are differences of prefix sums and one iteration costs
O(k log n). A value on a bound belongs to the lower centroid. All sums are float64. Source: Han et al. 2016 (ICLR,
"Deep Compression"), section 3; catalogue of techniques, A1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import EncodingError, UsageError
from featherweight.numerics._optimal import optimal_starts

Start = Literal["linear", "density", "random"]
Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
Places = NDArray[np.int64]

_BLOCK = 64  # values a stored prefix sum; 2 / 64 doubles a value keep the memory well under that of the weights
_BINS = 8192  # the optimum is searched over so many weighted points at most
_ITERATIONS = 1000  # Lloyd needs tens; a bound for adversarial values
_PROGRESS = 1e-9  # relative fall of the error below which further iterations change nothing that can be measured


@dataclass(frozen=True)
class Clusters:
    """Values as indices into few centroids.

    `centroids`: float64, shape (k,), strictly ascending, each used. `indices`: shape of the values, the narrowest of
    uint8, int16 and int32 that holds k - 1. `error`: sum of squared distances. `history`: that sum before the
    first and after every iteration; it never rises (up to rounding).
    """

    centroids: Tensor
    indices: Tensor
    error: float
    history: tuple[float, ...]


def kmeans(
    values: Tensor,
    clusters: int,
    *,
    start: Start = "linear",
    exact: bool = False,
    generator: torch.Generator | None = None,
) -> Clusters:
    """At most `clusters` centroids for values of any shape, fewer when there are fewer distinct values.

    `start`: "linear" spaces the first centroids evenly from minimum to maximum, "density" evenly in the cumulative
    distribution, "random" takes random values (Forgy; drawn with `generator`). With `exact` the start is the global
    optimum (for more than 8,192 distinct values: of a histogram that fine), and Lloyd only polishes it.

    Raises: EncodingError for values that are not finite, UsageError for `clusters` < 1.
    """
    if clusters < 1:
        raise UsageError("k-means needs at least one cluster", value=clusters)
    flat = _as_array(values)
    if flat.size == 0:
        nothing = torch.zeros(0, dtype=torch.float64)
        return Clusters(nothing, torch.zeros(values.shape, dtype=torch.uint8), 0.0, (0.0,))
    sums = _Sorted(np.sort(flat))
    if not (np.isfinite(sums.values[0]) and np.isfinite(sums.values[-1])):
        bad = flat[~np.isfinite(flat)][0]
        fix = "Retrain or repair the weights first."
        raise EncodingError("cannot cluster values that are not finite", value=float(bad), fix=fix)
    distinct = _distinct(sums.values, clusters)
    if distinct is not None:
        return _finished(values, distinct, (0.0,))
    if exact:
        first = _optimum(sums, clusters)
    else:
        first = _start(sums.values, clusters, start, generator)
    return _finished(values, *_lloyd(sums, first, clusters))


def nearest(values: Tensor, centroids: Tensor) -> Tensor:
    """The index of the nearest centroid (float, shape (k,), ascending) for each value, in the narrowest dtype.

    Costs O(n log k) and the memory of the indices alone. A value in the middle gets the lower centroid.
    """
    working = values.detach() if values.dtype == torch.float64 else values.detach().float()
    ascending = centroids.detach().to("cpu", torch.float64).numpy()
    bounds = torch.from_numpy(_bounds(ascending, np.float64 if working.dtype == torch.float64 else np.float32))
    dtype = index_dtype(len(ascending))
    indices = torch.empty(values.shape, dtype=dtype)
    flat, out = working.to("cpu").reshape(-1), indices.view(-1)
    for first in range(0, len(flat), 1 << 20):  # in pieces: bucketize gives int32 at best
        part = slice(first, first + (1 << 20))
        out[part] = torch.bucketize(flat[part], bounds, out_int32=True).to(dtype)
    return indices.to(values.device)


def index_dtype(count: int) -> torch.dtype:
    """The narrowest of uint8, int16 and int32 that holds the indices 0..count-1."""
    if count <= 1 << 8:
        return torch.uint8
    return torch.int16 if count <= 1 << 15 else torch.int32


class _Sorted:
    """Sorted values with prefix sums of them and of their squares.

    Only the sums up to every 64th value are stored; the rest is added when asked for.
    """

    def __init__(self, values: Floats) -> None:
        self.values = values
        blocks = -(-len(values) // _BLOCK)
        self._sums, self._squares = np.zeros(blocks + 1), np.zeros(blocks + 1)
        step = _BLOCK << 14
        for first in range(0, len(values), step):
            part = values[first : first + step].astype(np.float64)
            edges = np.arange(0, len(part), _BLOCK)
            slot = slice(first // _BLOCK + 1, first // _BLOCK + 1 + len(edges))
            self._sums[slot] = np.add.reduceat(part, edges)
            self._squares[slot] = np.add.reduceat(part * part, edges)
        np.cumsum(self._sums, out=self._sums)
        np.cumsum(self._squares, out=self._squares)

    def prefix(self, ends: Places) -> tuple[Doubles, Doubles]:
        """Sum and sum of squares of the first `ends` values (shape (m,), 0..n)."""
        block, rest = ends // _BLOCK, ends % _BLOCK
        steps = np.arange(_BLOCK)
        places = np.minimum(block[:, None] * _BLOCK + steps, len(self.values) - 1)
        tail = np.where(steps < rest[:, None], self.values[places].astype(np.float64), 0.0)
        return self._sums[block] + tail.sum(1), self._squares[block] + (tail * tail).sum(1)

    def ends(self, centroids: Doubles) -> Places:
        """Where the clusters of ascending centroids begin and end: shape (k + 1,), from 0 to n."""
        inner = np.searchsorted(self.values, _bounds(centroids, self.values.dtype.type), side="right")
        return np.concatenate([[0], inner, [len(self.values)]]).astype(np.int64)


def _lloyd(sorted_values: _Sorted, centroids: Doubles, clusters: int) -> tuple[Doubles, tuple[float, ...]]:
    """`clusters` centroids at a fixed point, and the error before the first and after every iteration.

    There must be at least so many distinct values.
    """
    history: list[float] = []
    before: Places | None = None
    for _ in range(_ITERATIONS):
        ends = sorted_values.ends(centroids)
        counts = np.diff(ends)
        sums, squares = (np.diff(part) for part in sorted_values.prefix(ends))
        history.append(float(np.sum(squares - 2 * centroids * sums + counts * centroids**2).clip(min=0.0)))
        used = counts > 0
        stalled = len(history) > 1 and history[-2] - history[-1] <= _PROGRESS * history[-2]
        if int(used.sum()) == clusters and (stalled or (before is not None and np.array_equal(ends, before))):
            break
        means = sums[used] / counts[used]
        centroids = _reseeded(sorted_values, means, ends, clusters - len(means))
        before = ends
    return centroids[np.diff(sorted_values.ends(centroids)) > 0], tuple(history)


def _reseeded(sorted_values: _Sorted, means: Doubles, ends: Places, empty: int) -> Doubles:
    """The means, and for every empty cluster the value that is worst served by them.

    In an interval that value is one of its two ends. Putting a centroid on a value cannot raise the error.
    """
    if empty == 0:
        return means
    filled = np.flatnonzero(np.diff(ends))
    extremes = sorted_values.values[np.concatenate([ends[filled], ends[filled + 1] - 1])].astype(np.float64)
    far = np.abs(extremes - np.concatenate([means, means]))
    worst = np.argsort(-far, kind="stable")[:empty]
    return np.unique(np.concatenate([means, extremes[worst][far[worst] > 0]]))


def _start(values: Floats, clusters: int, start: Start, generator: torch.Generator | None) -> Doubles:
    if start == "linear":
        return np.unique(np.linspace(float(values[0]), float(values[-1]), clusters))
    if start == "density":
        places = ((np.arange(clusters) + 0.5) / clusters * len(values)).astype(np.int64)
    else:
        # sampled with few collisions and without the memory of a permutation; doubles are re-seeded by Lloyd
        places = torch.randint(len(values), (clusters,), generator=generator).numpy()
    return np.unique(values[places].astype(np.float64))


def _optimum(sorted_values: _Sorted, clusters: int) -> Doubles:
    """The best centroids for the values, or for their histogram when there are many."""
    values = sorted_values.values
    points = _distinct(values, _BINS)
    if points is None:
        points = np.linspace(float(values[0]), float(values[-1]), _BINS + 1)[1:]
        points[-1] = values[-1]
    edges = _downward(points, values.dtype.type)
    ends = np.concatenate([[0], np.searchsorted(values, edges, side="right")])
    sums, squares = sorted_values.prefix(ends)
    filled = np.concatenate([[True], np.diff(ends) > 0])  # bins without values would only cost time
    totals = np.stack([ends[filled].astype(np.float64), sums[filled], squares[filled]])
    starts = optimal_starts(totals, min(clusters, int(filled.sum()) - 1))
    cuts = np.concatenate([starts, [totals.shape[1] - 1]])
    return np.unique(np.diff(totals[1][cuts]) / np.diff(totals[0][cuts]))


def _distinct(values: Floats, limit: int) -> Doubles | None:
    """The distinct ones of sorted values, or None when there are more than `limit`."""
    found = [values[:1]]
    count = 1
    for first in range(1, len(values), 1 << 20):
        part = values[first - 1 : first + (1 << 20)]
        found.append(part[1:][part[1:] > part[:-1]])
        count += len(found[-1])
        if count > limit:
            return None
    return np.concatenate(found).astype(np.float64)


def _bounds(centroids: Doubles, dtype: type[np.floating]) -> Floats:
    return _downward(centroids[:-1] + (centroids[1:] - centroids[:-1]) / 2, dtype)


def _downward(points: Doubles, dtype: type[np.floating]) -> Floats:
    """The largest numbers of `dtype` not above `points`: comparing with them is comparing with the points."""
    rounded = points.astype(dtype)
    below = np.nextafter(rounded, np.array(-np.inf, dtype=dtype))
    return np.where(rounded.astype(np.float64) > points, below, rounded)


def _as_array(values: Tensor) -> Floats:
    flat = values.detach().to("cpu").reshape(-1)
    array: Floats = (flat if flat.dtype == torch.float64 else flat.float()).numpy()
    return array


def _finished(values: Tensor, centroids: Doubles, history: tuple[float, ...]) -> Clusters:
    kept = torch.from_numpy(np.ascontiguousarray(centroids))
    return Clusters(kept, nearest(values, kept), history[-1], history)
