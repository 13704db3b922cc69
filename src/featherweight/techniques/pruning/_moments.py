"""Least squares for many small problems at once (the groups of a convolution), from moments, drawn towards old weights.

Notation: g problems with rows X (g, N, columns) and Y (g, N, outputs). Weights W (g, outputs, columns) minimise
||Y - X W^T - 1 b^T||^2 + ridge * sum over columns of energy_j * ||W_j - V_j||^2 with the old weights V: where data say
little, weights stay what they were. Everything is float64. Source: He et al. 2017 (ICCV), section 3.1, step (ii), with
the ridge of Hoerl and Kennard 1970 around V in place of 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import DivergedError

_DEAD = 1e-12  # of the mean energy of a column: a column with less than that says nothing


@dataclass
class Sums:
    """Sums over rows, around the means of the first rows: all that least squares asks of the data."""

    origin_x: Tensor  # (g, 1, columns)
    origin_y: Tensor  # (g, 1, outputs)
    count: int
    x: Tensor  # (g, columns)
    y: Tensor  # (g, outputs)
    xx: Tensor  # (g, columns, columns)
    xy: Tensor  # (g, columns, outputs)
    yy: Tensor  # (g, outputs)

    @classmethod
    def around(cls, x: Tensor, y: Tensor) -> "Sums":
        """Nothing yet; the means of these rows are what is counted from."""
        origin_x, origin_y = x.double().mean(1, keepdim=True), y.double().mean(1, keepdim=True)
        (groups, _, columns), outputs = x.shape, y.shape[2]
        new = origin_x.new_zeros
        parts = new(groups, columns), new(groups, outputs), new(groups, columns, columns)
        return cls(origin_x, origin_y, 0, *parts, new(groups, columns, outputs), new(groups, outputs))

    def empty(self) -> "Sums":
        """Nothing yet, counted from the same means, so that both add up."""
        zeros = (torch.zeros_like(item) for item in (self.x, self.y, self.xx, self.xy, self.yy))
        return Sums(self.origin_x, self.origin_y, 0, *zeros)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Adds rows: X (g, rows, columns), Y (g, rows, outputs). Raises: DivergedError when they are not finite."""
        a, b = self.origin_x.sub(x).neg_(), self.origin_y.sub(y).neg_()  # in double precision, without a copy between
        added = a.sum(1), b.sum(1)
        if not all(bool(torch.isfinite(item).all()) for item in added):
            raise DivergedError("samples for least squares are not finite", value=float(added[0].sum()))
        self.count += a.shape[1]
        self.x += added[0]
        self.y += added[1]
        self.xx.baddbmm_(a.mT, a)
        self.xy.baddbmm_(a.mT, b)
        self.yy += b.square().sum(1)

    def __add__(self, other: "Sums") -> "Sums":
        pairs = ((self.x, other.x), (self.y, other.y), (self.xx, other.xx), (self.xy, other.xy), (self.yy, other.yy))
        return Sums(self.origin_x, self.origin_y, self.count + other.count, *(a + b for a, b in pairs))

    def centred(self, *, intercept: bool) -> "Centred":
        """Products around the means where an intercept takes these up, else around zero."""
        count = max(self.count, 1)
        mean_x, mean_y = self.origin_x[:, 0] + self.x / count, self.origin_y[:, 0] + self.y / count
        xx = self.xx - self.x[:, :, None] * self.x[:, None] / count
        xy = self.xy - self.x[:, :, None] * self.y[:, None] / count
        yy = (self.yy - self.y.square() / count).clamp(min=0.0)
        if not intercept:
            xx = xx + count * mean_x[:, :, None] * mean_x[:, None]
            xy = xy + count * mean_x[:, :, None] * mean_y[:, None]
            yy = yy + count * mean_y.square()
        return Centred(xx, xy, yy, mean_x, mean_y, self.count, intercept)


@dataclass(frozen=True)
class Centred:
    """Products around means (`intercept`) or around zero, shapes as in `Sums`."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    mean_x: Tensor
    mean_y: Tensor
    count: int
    intercept: bool

    def solve(self, old: Tensor, ridge: float, live: Tensor | None = None) -> Tensor:
        """W (g, outputs, columns), drawn towards `old`; columns that are not `live` (g, columns) get zeros."""
        energy = self.xx.diagonal(dim1=1, dim2=2)
        used = energy > _DEAD * energy.mean(1, keepdim=True)
        used = used if live is None else used & live
        start = old if live is None else old * live[:, None]
        right = (self.xy - self.xx @ start.mT) * used[:, :, None]
        length = torch.where(used, energy.sqrt(), 1.0)
        unit = self.xx * (used[:, :, None] & used[:, None]) / length[:, :, None] / length[:, None]
        unit.diagonal(dim1=1, dim2=2).copy_(used * 1.0 + ridge + ~used * 1.0)
        lower, failed = torch.linalg.cholesky_ex(unit)
        step = torch.cholesky_solve(right / length[:, :, None], lower) / length[:, :, None]
        step = torch.where((failed == 0)[:, None, None] & step.isfinite().all(2, True).all(1, True), step, 0.0)
        return start + step.mT

    def offset(self, weight: Tensor) -> Tensor:
        """The intercept (g, outputs) that goes with weights: zeros where there is none."""
        if not self.intercept:
            return torch.zeros_like(self.mean_y)
        return self.mean_y - (weight @ self.mean_x[:, :, None])[:, :, 0]

    def error(self, weight: Tensor, offset: Tensor) -> Tensor:
        """The squared error of each output, summed over the rows: (g, outputs)."""
        through = weight @ self.xx
        spread = self.yy + (through * weight).sum(2) - 2 * (weight * self.xy.mT).sum(2)
        miss = (self.offset(weight) - offset) if self.intercept else offset  # around zero an offset is no part of it
        return spread.clamp(min=0.0) + self.count * miss.square()
