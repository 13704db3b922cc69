"""CP: a tensor as a sum of outer products, by alternating least squares with several starts.

V. Lebedev et al. 2015 (ICLR, "Speeding-up convolutional neural networks using fine-tuned CP-decomposition"). A CP of
best fit need not exist (terms of opposite sign may grow without end), so a ridge that fades holds the first sweeps, a
start whose terms have grown is thrown away, and the norm of each term is shared equally by its factors.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from featherweight.errors import UsageError

_RIDGE, _FADE, _LEAST = 1e-3, 0.8, 1e-12  # of the mean diagonal of the normal equations; factor a sweep; at the end
_GROWN = 1e3  # norm of one term over that of the whole above which a start is degenerate
_ENOUGH = 1e-9  # change of the relative error in a sweep below which sweeping ends
_EXACT = 1e-8  # relative error at which no other start is tried


@dataclass(frozen=True)
class Cp:
    """tensor[i, j, ...] ~ sum over r of factors[0][i, r] factors[1][j, r] ...; `error` is relative (Frobenius)."""

    factors: tuple[Tensor, ...]
    error: float

    def tensor(self) -> Tensor:
        """The tensor that the factors stand for."""
        sizes = tuple(len(factor) for factor in self.factors)
        return (self.factors[0] @ _khatri_rao(self.factors[1:]).T).reshape(sizes)


def cp(tensor: Tensor, rank: int, generator: torch.Generator, *, starts: int = 3, sweeps: int = 300) -> Cp:
    """The best of `starts` (the first from singular vectors, the others random) after at most `sweeps` each.

    Raises: UsageError when rank, starts or sweeps are below 1, or the tensor has one axis or no finite, nonzero norm.
    """
    wide = tensor.detach().double()
    norm = float(wide.norm())
    if tensor.dim() < 2 or min(rank, starts, sweeps) < 1 or not 0 < norm < math.inf:
        raise UsageError("cannot be factored", where=f"a tensor {tuple(tensor.shape)}", value=(rank, starts, norm))
    best: Cp | None = None
    steadiest: Cp | None = None
    for number in range(starts):
        factors = _start(wide, rank, generator, random=number > 0)
        found, grown = _alternate(wide / norm, factors, sweeps)
        if not grown and (best is None or found.error < best.error):
            best = found
        if steadiest is None or found.error < steadiest.error:
            steadiest = found
        if best is not None and best.error < _EXACT:
            break
    chosen = best or steadiest
    if chosen is None:
        raise UsageError("no start was tried", value=starts)
    scale = norm ** (1 / tensor.dim())
    return Cp(tuple((factor * scale).to(tensor.dtype) for factor in chosen.factors), chosen.error)


def _start(wide: Tensor, rank: int, generator: torch.Generator, *, random: bool) -> list[Tensor]:
    """Left singular vectors of each unfolding, filled up with normal numbers; or normal numbers alone."""
    factors = []
    for axis, size in enumerate(wide.shape):
        factor = torch.randn(size, rank, generator=generator, dtype=torch.float64).to(wide.device)
        if not random:
            unfolded = wide.movedim(axis, 0).flatten(1)
            vectors = torch.linalg.eigh(unfolded @ unfolded.T).eigenvectors.flip(1)[:, :rank]
            factor[:, : vectors.shape[1]] = vectors
        factors.append(factor / factor.norm(dim=0).clamp(min=1e-30))
    return factors


def _alternate(wide: Tensor, factors: list[Tensor], sweeps: int) -> tuple[Cp, bool]:
    """Least squares for one factor after the other, on a tensor of norm 1; and whether terms have grown."""
    unfolded = [wide.movedim(axis, 0).flatten(1) for axis in range(wide.dim())]
    error, ridge = math.inf, _RIDGE
    for _ in range(sweeps):
        for axis, matrix in enumerate(unfolded):
            others = factors[:axis] + factors[axis + 1 :]
            factors[axis] = _solved(matrix @ _khatri_rao(others), others, ridge)
        factors = _evened(factors)
        now = _error(unfolded[0], factors)
        if abs(error - now) < _ENOUGH and ridge <= _LEAST:
            error = now
            break
        error, ridge = now, max(ridge * _FADE, _LEAST)
    sizes = torch.stack([factor.norm(dim=0) for factor in factors]).prod(dim=0)
    return Cp(tuple(factors), error), bool(sizes.max() > _GROWN)


def _solved(right: Tensor, others: list[Tensor], ridge: float) -> Tensor:
    gram = torch.stack([factor.T @ factor for factor in others]).prod(dim=0)
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    regular = gram + identity * (ridge * gram.diagonal().mean().clamp(min=1e-30))
    lower, failed = torch.linalg.cholesky_ex(regular)
    if int(failed):  # collinear terms, beyond what the ridge holds
        solved: Tensor = right @ torch.linalg.pinv(regular, hermitian=True)
        return solved
    return torch.cholesky_solve(right.T, lower).T


def _evened(factors: list[Tensor]) -> list[Tensor]:
    """The same terms, the norm of each shared equally by its factors."""
    norms = torch.stack([factor.norm(dim=0) for factor in factors]).clamp(min=1e-30)
    share = norms.log().mean(dim=0).exp()
    return [factor * (share / norm) for factor, norm in zip(factors, norms, strict=True)]


def _error(unfolded: Tensor, factors: list[Tensor]) -> float:
    return float((unfolded - factors[0] @ _khatri_rao(factors[1:]).T).norm())


def _khatri_rao(factors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Columns are the outer products of the columns, the first factor's index slowest: (product of sizes, rank)."""
    joined = factors[0]
    for _, factor in pairwise(factors):
        joined = (joined[:, None] * factor[None]).flatten(0, 1)
    return joined
