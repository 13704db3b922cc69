"""LASSO from a Gram matrix, and the choice of a given number of columns by it.

Notation: beta (c,) minimises 1/2 beta^T G beta - r^T beta + penalty * |beta|_1, with G = Z^T Z / m (c, c) and
r = Z^T y / m (c,) for m rows of data, which gives scikit-learn's scale of the penalty:
||y - Z beta||^2 / (2m) + penalty * |beta|_1. Sources: Friedman, Hastie, Tibshirani 2010 (Journal of Statistical
Software 33, "Regularization paths"), section 2.2, covariance updates; He et al. 2017 (ICCV), section 3.1, step (i).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import UsageError

Doubles = NDArray[np.float64]

_SWEEPS = 10_000  # a bound; the exact step ends most problems after a few
_PATIENCE = 4  # sweeps between two tries of the exact step
_STILL = 1e-13  # of the largest move a coordinate could make: sweeps that move less change nothing
_SLACK = 1e-9  # of the largest correlation: by how much a condition of optimality may be missed
_NOISE = 10 * float(np.finfo(np.float64).eps)  # times the columns: what rounding leaves where nothing is
_HALVINGS = 60  # of the interval of penalties


@dataclass(frozen=True)
class Selection:
    """Chosen columns.

    `kept` int64 (keep,), ascending. `weights` (c,): beta at `penalty`, of which those of `kept` are the largest.
    """

    kept: Tensor
    weights: Tensor
    penalty: float


def lasso(gram: Tensor, correlation: Tensor, penalty: float, start: Tensor | None = None) -> Tensor:
    """beta, float64 (c,), with exact zeros; `start` is a solution for a near penalty.

    Coordinate descent finds signs and support; as soon as they are right, the rest is one linear system.

    Raises: UsageError for a negative penalty or shapes that do not fit.
    """
    if penalty < 0 or gram.shape != (len(correlation), len(correlation)):
        raise UsageError("the LASSO needs a square Gram matrix and a penalty >= 0", value=(tuple(gram.shape), penalty))
    g, r = gram.detach().cpu().double().numpy(), correlation.detach().cpu().double().numpy()
    beta = np.zeros_like(r) if start is None else start.detach().cpu().double().numpy().copy()
    return torch.from_numpy(_solved(g, r, penalty, beta)).to(gram.device)


def select(gram: Tensor, correlation: Tensor, keep: int, tolerance: float = 0.1) -> Selection:
    """Exactly `keep` columns (1..c): those that the LASSO leaves at the penalty that leaves about so many.

    The penalty is bisected until keep..keep * (1 + tolerance) weights are not zero; of these the largest in size are
    kept. Where columns are tied no penalty leaves so many, and the smallest set that is large enough is trimmed; where
    too few have any weight even without penalty (dead channels), those of the largest energy fill up.

    Raises: UsageError when `keep` is not in 1..c.
    """
    channels = len(correlation)
    if not 1 <= keep <= channels:
        raise UsageError(f"can keep 1 to {channels} channels", value=keep)
    if gram.shape != (channels, channels):
        raise UsageError("the Gram matrix must be square", value=tuple(gram.shape))
    g, r = gram.detach().cpu().double().numpy(), correlation.detach().cpu().double().numpy()
    beta, penalty = _bisected(g, r, keep, int(keep * (1 + tolerance) + 1e-9))
    # a stable sort by size, then by energy, then by place
    order = np.lexsort((np.arange(channels), -np.diag(g), -np.abs(beta)))
    kept = torch.from_numpy(np.sort(order[:keep]))
    return Selection(kept.to(gram.device), torch.from_numpy(beta).to(gram.device), penalty)


def _bisected(g: Doubles, r: Doubles, keep: int, most: int) -> tuple[Doubles, float]:
    """beta and penalty with keep..most weights, or the fewest above, or all there are."""
    low, high = 0.0, float(np.abs(r).max(initial=0.0))  # at `high` every weight is zero
    beta = _solved(g, r, 0.0, np.zeros_like(r)) if keep == len(r) else np.zeros_like(r)
    if keep == len(r) or high == 0.0:
        return beta, 0.0
    enough: tuple[Doubles, float] | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beta = _solved(g, r, middle, beta.copy())
        count = int(np.count_nonzero(beta))
        if count < keep:
            high = middle
            continue
        low, enough = middle, (beta, middle)
        if count <= most:
            break
    return enough or (beta, high)


def _solved(g: Doubles, r: Doubles, penalty: float, beta: Doubles) -> Doubles:
    """The minimum, starting at beta, which is changed."""
    energy = np.diag(g)
    live = np.flatnonzero(energy > 0)
    beta[energy <= 0] = 0.0
    slope = r - g @ beta
    reach = float((np.abs(r[live]) / np.sqrt(energy[live])).max(initial=0.0))
    among = live
    for sweep in range(_SWEEPS):
        moved = _sweep(g, energy, slope, penalty, beta, among)
        if sweep % _PATIENCE == 1 or moved <= _STILL * reach:
            exact = _exact(g, r, penalty, beta)
            if exact is not None:
                return exact
        if moved <= _STILL * reach:
            if among is live:
                break
            among = live  # the support stands still: may another column come in?
        else:
            among = np.flatnonzero(beta) if sweep % _PATIENCE else live
    return _independent(g, beta)


def _sweep(
    g: Doubles, energy: Doubles, slope: Doubles, penalty: float, beta: Doubles, among: NDArray[np.int64]
) -> float:
    """One pass of coordinate descent; gives the largest move, in units of the outputs."""
    largest = 0.0
    for j in among.tolist():
        pull = slope[j] + energy[j] * beta[j]
        new = (pull - penalty if pull > 0 else pull + penalty) / energy[j] if abs(pull) > penalty else 0.0
        step = new - beta[j]
        if step != 0.0:
            slope -= g[j] * step
            beta[j] = new
            largest = max(largest, abs(step) * float(energy[j]) ** 0.5)
    return largest


def _exact(g: Doubles, r: Doubles, penalty: float, beta: Doubles) -> Doubles | None:
    """The solution with the support and the signs of beta, if it is the minimum."""
    beta = _independent(g, beta)
    support = np.flatnonzero(beta)
    signs = np.sign(beta[support])
    values = np.linalg.solve(g[np.ix_(support, support)], r[support] - penalty * signs)
    slack = _SLACK * float(np.abs(r).max(initial=0.0))
    solution = np.zeros_like(beta)
    solution[support] = values
    optimal = bool((np.abs(r - g @ solution) <= penalty + slack).all())
    return solution if optimal and bool((np.sign(values) == signs).all()) else None


def _independent(g: Doubles, beta: Doubles) -> Doubles:
    """As good as beta or better, with columns of which none follows from the others: of copies, one is enough.

    Along a vector that the columns map to zero the fit stays as it is; one way the sum of sizes does not grow, and
    that way the first weight to reach zero leaves.
    """
    while (support := np.flatnonzero(beta)).size:
        length = np.sqrt(np.diag(g)[support])
        unit = g[np.ix_(support, support)] / np.outer(length, length)
        if _definite(unit):
            break
        same = np.linalg.eigh(unit)[1][:, 0] / length
        same *= 1.0 if np.sign(beta[support]) @ same >= 0 else -1.0
        shrinking = np.flatnonzero(same * beta[support] > 0)
        steps = beta[support][shrinking] / same[shrinking]
        first = int(np.argmin(steps))
        beta = beta.copy()
        beta[support] -= steps[first] * same
        beta[support[shrinking[first]]] = 0.0
    return beta


def _definite(unit: Doubles) -> bool:
    """Whether a matrix of columns of length one has full rank, up to rounding."""
    try:
        pivots = np.diag(np.linalg.cholesky(unit)) ** 2
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > _NOISE * len(unit))
