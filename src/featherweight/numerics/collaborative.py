"""Channels chosen together: the 0-1 quadratic program of collaborative pruning.

Notation: r (c,) is 1 for removed channels; removing them changes the loss by about f(r) = 1/2 r^T S r - u^T r, where
a (N, c) holds for each example and channel the inner product of the loss's gradient with the channel's weights,
S = a^T a / N (c, c; positive semidefinite) and u (c,) is the mean of a. Channels whose influences cancel out are cheap
together and dear alone. Source: Peng et al. 2019 (ICML, "Collaborative channel pruning for deep networks"), section 3.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import UsageError

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

_STEPS = 1000  # of the projected gradient; it ends when nothing moves
_STILL = 1e-6  # largest move of a step that counts: the result is rounded to 0 and 1
_FIRSTS = 16  # first channels from which greedy removal is tried, those that are cheap alone before others


def quadratic(influences: Tensor) -> tuple[Tensor, Tensor]:
    """S (c, c) and u (c,), float64, of influences a (N, c) for each example alone, not for a batch.

    Raises: UsageError without examples.
    """
    a = influences.detach().double()
    if a.dim() != 2 or not len(a):
        raise UsageError("influences must be (examples, channels), at least one", value=tuple(a.shape))
    return a.T @ a / len(a), a.mean(0)


def loss_change(curvature: Tensor, gradient: Tensor, removed: Tensor) -> float:
    """f of a set of channels (int64, any order)."""
    part = curvature.double()[removed][:, removed]
    return float(part.sum() / 2 - gradient.double()[removed].sum())


def least_loss(curvature: Tensor, gradient: Tensor, count: int) -> Tensor:
    """The `count` (0..c) channels whose removal costs least, ascending int64.

    The best of several starts (the relaxed problem with r in [0, 1], greedy removal from several first channels, greedy
    return), each improved by exchanging one removed for one kept channel as long as that helps. The result is a local
    optimum; of small problems it is within 1 % of the best subset.

    Raises: UsageError when `count` is not in 0..c or S is not square.
    """
    s, u = curvature.detach().cpu().double().numpy(), gradient.detach().cpu().double().numpy()
    if s.shape != (len(u), len(u)):
        raise UsageError("the curvature must be square, as wide as the gradient is long", value=tuple(s.shape))
    if not 0 <= count <= len(u):
        raise UsageError(f"can remove 0 to {len(u)} channels", value=count)
    found = (_exchanged(s, u, start) for start in _starts(s, u, count))
    best = min(found, key=lambda removed: _value(s, u, removed))
    return torch.from_numpy(np.flatnonzero(best)).to(gradient.device)


def _value(s: Doubles, u: Doubles, removed: Mask) -> float:
    return float(s[np.ix_(removed, removed)].sum() / 2 - u[removed].sum())


def _starts(s: Doubles, u: Doubles, count: int) -> Iterator[Mask]:
    """Sets of `count` channels, as masks."""
    channels = len(u)
    if count in (0, channels):
        yield np.full(channels, count > 0)
        return
    yield _mask(np.argsort(-_relaxed(s, u, count), kind="stable")[:count], channels)
    # what returns is what would be removed from the mirrored problem, r' = 1 - r
    yield ~_mask(_greedy(s, s.sum(1) - u, channels - count, None), channels)
    alone = s.diagonal() / 2 - u
    for first in np.argsort(alone, kind="stable")[:_FIRSTS].tolist():
        yield _mask(_greedy(s, u, count, first), channels)


def _greedy(s: Doubles, u: Doubles, count: int, first: int | None) -> list[int]:
    """Channels removed one by one, each where f rises least, beginning with `first`."""
    rise = s.diagonal() / 2 - u
    order: list[int] = []
    for _ in range(count):
        order.append(int(rise.argmin()) if order or first is None else first)
        rise = rise + s[order[-1]]
        rise[order] = np.inf
    return order


def _mask(places: Sequence[int] | NDArray[np.int64], channels: int) -> Mask:
    mask = np.zeros(channels, dtype=np.bool_)
    mask[places] = True
    return mask


def _relaxed(s: Doubles, u: Doubles, count: int) -> Doubles:
    """r in [0, 1] with sum `count` and least f, by projected gradient with Nesterov's momentum."""
    steepest = float(np.linalg.norm(s, 2))
    if steepest == 0.0:
        return u
    r = ahead = np.full_like(u, count / len(u))
    pace = 1.0
    for _ in range(_STEPS):
        following = _projected(ahead - (s @ ahead - u) / steepest, count)
        moved = float(np.abs(following - r).max())
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead, r, pace = following + (pace - 1) / faster * (following - r), following, faster
        if moved < _STILL:
            break
    return r


def _projected(point: Doubles, count: int) -> Doubles:
    """The nearest point in [0, 1]^c with sum `count`: all shifted by the same t and cut off.

    The sum falls with t, in straight pieces that end at the coordinates and at the coordinates less 1.
    """
    ascending = np.sort(point)
    ends = np.sort(np.concatenate([ascending, ascending - 1]))
    sums = _above(ascending, ends) - _above(ascending - 1, ends)
    piece = int(np.clip(np.searchsorted(-sums, -count), 1, len(ends) - 1))
    slope = (sums[piece] - sums[piece - 1]) / max(ends[piece] - ends[piece - 1], np.finfo(np.float64).tiny)
    shift = ends[piece - 1] if slope == 0 else ends[piece - 1] + (count - sums[piece - 1]) / slope
    projected: Doubles = (point - shift).clip(0, 1)
    return projected


def _above(ascending: Doubles, ends: Doubles) -> Doubles:
    """For each end, the sum of what the values exceed it by."""
    places = np.searchsorted(ascending, ends)
    sums = np.concatenate([np.cumsum(ascending[::-1])[::-1], [0.0]])
    exceeding: Doubles = sums[places] - (len(ascending) - places) * ends
    return exceeding


def _exchanged(s: Doubles, u: Doubles, removed: Mask) -> Mask:
    """The set after the best exchange of a removed for a kept channel, as long as one lowers f."""
    removed = removed.copy()
    worth = 1e-12 * max(float(np.abs(s).max(initial=0.0)), float(np.abs(u).max(initial=0.0)))
    slope = s[:, removed].sum(1) - u
    while removed.any() and not removed.all():
        gone, kept = np.flatnonzero(removed), np.flatnonzero(~removed)
        back = s.diagonal()[gone] / 2 - slope[gone]
        away = s.diagonal()[kept] / 2 + slope[kept]
        change = back[:, None] + away[None, :] - s[np.ix_(gone, kept)]
        best = int(change.argmin())
        if change.flat[best] >= -worth:
            break
        returned, taken = gone[best // len(kept)], kept[best % len(kept)]
        removed[returned], removed[taken] = False, True
        slope += s[taken] - s[returned]
    return removed
