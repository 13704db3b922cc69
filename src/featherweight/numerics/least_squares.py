"""Least squares over more samples than fit into memory: moments are added up, weights are solved from them alone.

Notation: N samples of inputs X (N, columns) and outputs Y (N, outputs); W (outputs, columns) and b (outputs,) minimise
||Y - X W^T - 1 b^T||^2. A channel owns `spread` neighbouring columns (the taps of a kernel): channel i has the columns
i * spread ... (i + 1) * spread - 1. Everything is float64. Sources: He et al. 2017 (ICCV, "Channel pruning for
accelerating very deep neural networks"), section 3.1, step (ii); adding up centred moments: Chan, Golub, LeVeque 1983
(The American Statistician 37, "Algorithms for computing the sample variance").
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from featherweight.errors import DivergedError, UsageError

RIDGE = 1e-8  # of the mean energy of a column: settles which of two equal columns gets the weight, and nothing else
_NOISE = 10 * torch.finfo(torch.float64).eps  # times the columns: what rounding leaves where nothing is


class Moments:
    """Means and centred second moments of inputs and outputs: all that least squares asks of the data.

    `count`: samples seen. `mean_x` (columns,), `mean_y` (outputs,). `xx` (columns, columns), `xy` (columns, outputs)
    and `yy` (outputs,; the diagonal alone) are sums of products around the means, which large means cannot drown as
    they would drown plain sums. Moments of parts of the data add up with `+` to the moments of all of it.
    """

    def __init__(self, columns: int, outputs: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean_x = torch.zeros(columns, dtype=torch.float64, device=device)
        self.mean_y = torch.zeros(outputs, dtype=torch.float64, device=device)
        self.xx = torch.zeros(columns, columns, dtype=torch.float64, device=device)
        self.xy = torch.zeros(columns, outputs, dtype=torch.float64, device=device)
        self.yy = torch.zeros(outputs, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, inputs: Tensor, outputs: Tensor) -> Self:
        """Of data that fit into memory: see `update`."""
        moments = cls(inputs[0].numel(), outputs[0].numel(), inputs.device)
        moments.update(inputs, outputs)
        return moments

    def update(self, inputs: Tensor, outputs: Tensor) -> None:
        """Adds samples: inputs (rows, columns) or (rows, channels, spread), outputs (rows, outputs), of any dtype.

        Raises: UsageError for shapes that do not fit, DivergedError for values that are not finite.
        """
        x, y = (part.detach().flatten(1).to(self.xx.device, torch.float64) for part in (inputs, outputs))
        if len(x) != len(y) or x.shape[1] != len(self.mean_x) or y.shape[1] != len(self.mean_y):
            expected = f"samples must have {len(self.mean_x)} columns and {len(self.mean_y)} outputs, as many of each"
            raise UsageError(expected, value=(tuple(inputs.shape), tuple(outputs.shape)))
        if not len(x):
            return
        mean_x, mean_y = x.mean(0), y.mean(0)
        if not bool(mean_x.isfinite().all() & mean_y.isfinite().all()):
            raise DivergedError("samples for least squares are not finite", value=float(mean_x.sum() + mean_y.sum()))
        x, y = x - mean_x, y - mean_y
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)
        self.yy += y.square().sum(0)
        self._shift(len(x), mean_x, mean_y)

    def __add__(self, other: "Moments") -> "Moments":
        if (self.mean_x.shape, self.mean_y.shape) != (other.mean_x.shape, other.mean_y.shape):
            shapes = tuple(self.xy.shape), tuple(other.xy.shape)
            raise UsageError("only moments of the same columns and outputs add up", value=shapes)
        total = Moments(len(self.mean_x), len(self.mean_y), self.xx.device)
        for part in (self, other):
            total.xx += part.xx.to(total.xx.device)
            total.xy += part.xy.to(total.xx.device)
            total.yy += part.yy.to(total.xx.device)
            total._shift(part.count, part.mean_x.to(total.xx.device), part.mean_y.to(total.xx.device))
        return total

    def gram(self, *, intercept: bool) -> Tensor:
        """X^T X, shape (columns, columns): around the means when an intercept takes them up, else around zero."""
        return self.xx if intercept else self.xx.addr(self.mean_x, self.mean_x, alpha=float(self.count))

    def cross(self, *, intercept: bool) -> Tensor:
        """X^T Y, shape (columns, outputs), likewise."""
        return self.xy if intercept else self.xy.addr(self.mean_x, self.mean_y, alpha=float(self.count))

    def energy(self, *, intercept: bool) -> float:
        """||Y||^2 likewise: the squared error of having no columns at all."""
        around_zero = 0.0 if intercept else float(self.mean_y.square().sum()) * self.count
        return float(self.yy.sum()) + around_zero

    def _shift(self, count: int, mean_x: Tensor, mean_y: Tensor) -> None:
        """Takes the means of `count` more samples in, whose centred sums are added already."""
        if not count:
            return
        total = self.count + count
        off_x, off_y, weight = mean_x - self.mean_x, mean_y - self.mean_y, self.count * count / total
        self.xx.addr_(off_x, off_x, alpha=weight)
        self.xy.addr_(off_x, off_y, alpha=weight)
        self.yy.add_(off_y.square(), alpha=weight)
        self.mean_x.add_(off_x, alpha=count / total)
        self.mean_y.add_(off_y, alpha=count / total)
        self.count = total


@dataclass(frozen=True)
class Fit:
    """What least squares found.

    `weight` (outputs, kept columns) and `bias` (outputs,; zeros without intercept), float64. `error` (outputs,): the
    squared error of each output, summed over the samples. `rank`: how many columns say something of their own.
    """

    weight: Tensor
    bias: Tensor
    error: Tensor
    rank: int


def columns_of(channels: Tensor | Iterable[int], spread: int) -> Tensor:
    """The columns that channels own, in the order of the channels: int64, shape (channels * spread,)."""
    places = channels if isinstance(channels, Tensor) else torch.tensor(list(channels), dtype=torch.int64)
    return (places[:, None] * spread + torch.arange(spread, device=places.device)).flatten()


def solve(moments: Moments, columns: Tensor | None = None, *, ridge: float = RIDGE, intercept: bool = True) -> Fit:
    """The weights of least squared error on some columns (int64, shape (kept,)), or on all of them.

    `ridge` >= 0 times the mean energy of the columns is what a squared weight costs.

    Raises: UsageError without samples or for a negative ridge.
    """
    if not moments.count:
        raise UsageError("least squares needs samples", value=0, fix="Update the moments with data first.")
    if ridge < 0:
        raise UsageError("a ridge is at least 0", value=ridge)
    kept = _all(moments) if columns is None else columns.to(moments.xx.device)
    gram, cross, mean = moments.xx[kept][:, kept], moments.xy[kept], moments.mean_x[kept]
    if not intercept:
        gram = gram.addr(mean, mean, alpha=float(moments.count))
        cross = cross.addr(mean, moments.mean_y, alpha=float(moments.count))
    solution, rank = solve_normal(gram, cross, ridge)
    weight = solution.T.contiguous()
    bias = moments.mean_y - weight @ mean if intercept else torch.zeros_like(moments.mean_y)
    return Fit(weight, bias, residual(moments, weight, bias, kept), rank)


def residual(moments: Moments, weight: Tensor, bias: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """The squared error of any weights (outputs, kept columns), from the moments alone: float64, shape (outputs,).

    Summed over the samples. Exact down to 1e-15 of the outputs' energy.
    """
    kept = _all(moments) if columns is None else columns.to(moments.xx.device)
    w = weight.detach().to(moments.xx.device, torch.float64)
    offset = moments.mean_y - w @ moments.mean_x[kept]
    if bias is not None:
        offset = offset - bias.detach().to(w)
    spread = ((w @ moments.xx[kept][:, kept]) * w).sum(1) - 2 * (w * moments.xy[kept].T).sum(1)
    return (moments.yy + spread).clamp(min=0.0) + moments.count * offset.square()


def solve_normal(gram: Tensor, target: Tensor, ridge: float = RIDGE) -> tuple[Tensor, int]:
    """x of least norm with gram x = target, and the rank of gram: positive semidefinite (n, n), target (n, outputs).

    By Cholesky on columns scaled to length one; where some columns follow from others (which the ridge hides unless it
    is tiny), by the pseudo-inverse.
    """
    size = len(gram)
    if size == 0:
        return torch.zeros_like(target), 0
    energy = gram.diagonal()
    damped = gram + torch.diag_embed(torch.full_like(energy, ridge * float(energy.mean())))
    length = damped.diagonal().sqrt()
    length = torch.where(length > 0, length, torch.inf)[:, None]  # a column of zeros gets weights of exactly zero
    unit, right = damped / length / length.T, target / length
    lower, failed = torch.linalg.cholesky_ex(unit)
    if not int(failed) and float(lower.diagonal().square().min()) > _NOISE * size:
        return torch.cholesky_solve(right, lower) / length, size
    values, vectors = torch.linalg.eigh(unit)
    used = values > _NOISE * size * values[-1]
    vectors = vectors[:, used]
    return vectors @ ((vectors.T @ right) / values[used, None]) / length, int(used.sum())


def _all(moments: Moments) -> Tensor:
    return torch.arange(len(moments.mean_x), device=moments.xx.device)
