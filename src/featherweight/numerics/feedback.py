"""Rounding that lets later weights make up for the errors of earlier ones: least error of the output, not the weight.

Notation: W (groups, rows, columns) weights, a row of a group sees inputs with second moments H = E[x x^T] (groups,
columns, columns); U upper triangular with U^T U = H^-1; d_i = 1 / U_ii^2 is what is left of the energy of input i when
the later ones have explained what they can. Column by column, the error e_i = (w_i - q_i) / U_ii is taken off the
columns behind it, e_i U_ij; the squared output error is then the sum of e_i^2. So a squared error of column i counts
d_i, and that is what the rate is weighed with. Sources: Frantar et al. 2023 (ICLR, "GPTQ"), catalogue B14, with the
decision of B16 (RDOQ) in place of plain rounding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featherweight.numerics.rate import Costs, Levels, RateModel
from featherweight.numerics.rounding import PASSES

DAMPING = 0.01  # share of the mean energy that is added to every input: those that hardly occur decide nothing
_BLOCK = 64  # columns between two updates of all columns behind


@dataclass(frozen=True)
class Feedback:
    """What follows from the second moments alone: `upper` is U, `energy` is d relative to its geometric mean.

    `scale` is that mean, shape (groups,): what a squared error of a weight costs in squared output.
    """

    upper: Tensor
    energy: Tensor
    scale: Tensor

    @classmethod
    def of(cls, moments: Tensor, damping: float = DAMPING) -> "Feedback":
        """For second moments of shape (groups, columns, columns), any positive semidefinite ones."""
        moments = moments.double()
        mean = torch.diagonal(moments, dim1=1, dim2=2).mean(dim=1).clamp(min=1e-30)
        damped = moments + (damping * mean)[:, None, None] * torch.eye(moments.shape[1], dtype=torch.float64)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        upper = torch.linalg.cholesky(inverse, upper=True)
        logs = -2 * torch.diagonal(upper, dim1=1, dim2=2).log()
        centre = logs.mean(dim=1, keepdim=True)
        return cls(upper.float(), (logs - centre).exp().float(), centre[:, 0].exp())


def shrunk(moments: Tensor, means: Tensor, samples: int) -> Tensor:
    """Second moments of inputs as many more samples would give them: chance correlations are made smaller.

    `moments` (groups, columns, columns) and `means` (groups, columns) are those of `samples` independent samples. Of
    few samples inputs look more alike than they are, and feedback would push errors into what only seems to be unseen.
    So correlations around the mean are multiplied by 1 - a, where a is what their variance is of their squared size,
    both summed over all pairs. Schäfer and Strimmer 2005, "A shrinkage approach to large-scale covariance matrix
    estimation", target D.
    """
    moments, means = moments.double(), means.double()
    middle = means[:, :, None] * means[:, None, :]
    spread = moments - middle
    variance = torch.diagonal(spread, dim1=1, dim2=2).clamp(min=1e-30)
    squares = spread.square() / (variance[:, :, None] * variance[:, None, :])
    squares = squares.clamp(max=1.0) * (1 - torch.eye(moments.shape[1], dtype=torch.float64))
    chance = ((1 - squares).square() * (squares > 0)).sum(dim=(1, 2)) / max(samples - 1, 1)
    share = (chance / squares.sum(dim=(1, 2)).clamp(min=1e-30)).clamp(0.0, 1.0)[:, None, None]
    return middle + (1 - share) * spread + share * torch.diag_embed(variance)


def compensated(weight: Tensor, steps: Tensor, feedback: Feedback, price: float, costs: Costs | None) -> Levels:
    """Levels (groups * rows, columns) of W, `steps` (groups, rows); `price` in squared steps at the mean energy.

    `costs` tells bits at each place, None for plain rounding.
    """
    groups, rows, columns = weight.shape
    rest = weight.float().clone()
    levels = torch.zeros_like(rest)
    for first in range(0, columns, _BLOCK):
        last = min(columns, first + _BLOCK)
        errors = rest.new_zeros(groups, rows, last - first)
        for column in range(first, last):
            chosen = _chosen(rest[:, :, column] / steps, feedback.energy[:, column], price, costs, column)
            levels[:, :, column] = chosen
            pivot = feedback.upper[:, column, column]
            error = (rest[:, :, column] - chosen * steps) / pivot[:, None]
            errors[:, :, column - first] = error
            if column + 1 < last:
                rest[:, :, column + 1 : last] -= error[:, :, None] * feedback.upper[:, None, column, column + 1 : last]
        if last < columns:
            rest[:, :, last:] -= errors @ feedback.upper[:, first:last, last:]
    return levels.reshape(groups * rows, columns).to(torch.int32).numpy()


def compensated_quantized(weight: Tensor, steps: Tensor, feedback: Feedback, price: float, model: RateModel) -> Levels:
    """Levels of plain rounding with feedback, then `PASSES` times with the bits of the levels before."""
    levels = compensated(weight, steps, feedback, 0.0, None)
    for _ in range(PASSES if price > 0 else 0):
        levels = compensated(weight, steps, feedback, price, model.costs(levels))
    return levels


def _chosen(x: Tensor, energy: Tensor, price: float, costs: Costs | None, column: int) -> Tensor:
    """The level of each weight of a column: x (groups, rows) in steps, energy (groups,)."""
    if costs is None or price <= 0:
        return x.round()
    sizes = x.abs()
    near = sizes.round()
    candidates = torch.stack([near, (near - 1).clamp(min=0), torch.zeros_like(near)])
    whole = candidates.to(torch.int32).numpy().reshape(3, -1)
    bits = costs.at(np.broadcast_to(costs.classes[:, column], whole.shape), whole).reshape(candidates.shape)
    cost = energy[:, None] * (sizes - candidates) ** 2 + price * torch.from_numpy(bits)
    best = cost.argmin(dim=0, keepdim=True)
    return candidates.gather(0, best)[0] * x.sign()
