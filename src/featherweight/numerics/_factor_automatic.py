"""How many singular values of a matrix are more than noise: the global analytic solution of variational Bayesian
matrix factorisation with unknown noise.

S. Nakajima, M. Sugiyama, S. D. Babacan, R. Tomioka 2013 (JMLR 14, "Global analytic solution of fully-observed
variational Bayesian matrix factorization"), theorem 2 and corollary 2. For a matrix (L, M) with L <= M, singular values
s_h and noise variance v: x_h = s_h^2 / (M v), alpha = L / M, and s_h is kept when x_h exceeds
(1 + tau)(1 + alpha / tau) with tau = 2.5129 sqrt(alpha).
"""

import math

import torch
from torch import Tensor

from featherweight.errors import UsageError

_TAU = 2.5129  # of a square matrix; the paper's constant
_GRID = 400  # variances looked at, evenly in their logarithm: the free energy has several minima
_GOLDEN = (math.sqrt(5) - 1) / 2


def evbmf(matrix: Tensor) -> tuple[int, float]:
    """The number of components that are not noise, 0..min(m, n), and the variance of the noise per element.

    A matrix without noise has its numerical rank and variance 0.

    Raises: UsageError for anything but a matrix with finite values.
    """
    if matrix.dim() != 2 or not matrix.numel() or not bool(torch.isfinite(matrix).all()):
        raise UsageError("needs a matrix with finite values", value=tuple(matrix.shape))
    small, large = sorted(matrix.shape)
    values = torch.linalg.svdvals(matrix.detach().double()).cpu()
    squares = values.square()
    alpha = small / large
    tau = _TAU * math.sqrt(alpha)
    threshold = (1 + tau) * (1 + alpha / tau)
    least, most = _bounds(squares, large, threshold)
    tiny = float(values[0]) * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    if least * large <= tiny**2:
        return int((values > tiny).sum()), 0.0
    variance = _minimum(squares / large, alpha, threshold, (least, most))
    return int((squares > large * variance * threshold).sum()), variance


def _bounds(squares: Tensor, large: int, threshold: float) -> tuple[float, float]:
    """Between which variances the minimum of the free energy lies (the paper's equations 60 to 62)."""
    small = len(squares)
    most = float(squares.sum()) / (small * large)
    kept = min(math.ceil(small / (1 + small / large)) - 1, small)
    least = max(float(squares[kept]) / (large * threshold), float(squares[kept:].mean()) / large)
    return min(least, most), most


def _minimum(scaled: Tensor, alpha: float, threshold: float, bounds: tuple[float, float]) -> float:
    """The variance with the least free energy: the best of a grid, then golden sections around it."""
    low, high = (math.log(bound) for bound in bounds)
    grid = [low + (high - low) * index / (_GRID - 1) for index in range(_GRID)]
    energies = [_energy(scaled, alpha, threshold, point) for point in grid]
    best = min(range(_GRID), key=energies.__getitem__)
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    while high - low > 1e-9:
        step = (high - low) * _GOLDEN
        left, right = high - step, low + step
        if _energy(scaled, alpha, threshold, left) < _energy(scaled, alpha, threshold, right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _energy(scaled: Tensor, alpha: float, threshold: float, log_variance: float) -> float:
    x = (scaled * math.exp(-log_variance)).clamp(min=1e-300)
    kept = x[x > threshold]
    rest = x[x <= threshold]
    offset = kept - (1 + alpha)
    tau = 0.5 * (offset + (offset.square() - 4 * alpha).clamp(min=0).sqrt())
    gain = kept - tau + ((tau + 1) / kept).log() + alpha * (tau / alpha + 1).log()
    return float((rest - rest.log()).sum() + gain.sum())
