"""Low rank by what a layer answers: the few directions in which its responses lie, through the ReLU that follows.

X. Zhang, J. Zou, X. Ming, K. He, J. Sun 2015 (CVPR, "Efficient and accurate approximations of nonlinear convolutional
networks") and Zhang et al. 2016 (TPAMI). Responses are rows: (samples n, outputs d). A map of given rank takes
responses x to m x + b with m = left right; (d, rank) and (rank, p).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import UsageError

_RIDGE = 1e-9  # of the mean variance, added to the covariance: responses are often collinear
SCHEDULE = ((0.01, 25), (1.0, 25))
"""The paper's penalties lambda, each with its number of rounds."""


@dataclass(frozen=True)
class Affine:
    """x (n, p) goes to x right^T left^T + bias, (n, d)."""

    left: Tensor
    right: Tensor
    bias: Tensor

    def __call__(self, responses: Tensor) -> Tensor:
        """The map of responses (n, p)."""
        return responses @ self.right.T @ self.left.T + self.bias


def by_response(responses: Tensor, rank: int, targets: Tensor | None = None) -> Affine:
    """The map of `rank` with the least sum of |target - map(response)|^2. Targets (n, d) default to the responses.

    Without targets it is the principal components of the responses: left = right^T = the first eigenvectors of their
    covariance, and full rank changes nothing.

    Raises: UsageError when the rank is not in 1..min(d, p), or shapes or samples do not fit.
    """
    wanted = responses if targets is None else targets
    _check(responses, wanted, rank)
    solver = _Regression(responses.double(), rank, whole=targets is None)
    return _like(solver.fitted(wanted.double()), responses)


def nonlinear_response(
    responses: Tensor, rank: int, targets: Tensor, schedule: Sequence[tuple[float, int]] = SCHEDULE
) -> Affine:
    """The map of `rank` for which relu(map(response)) is nearest to relu(target).

    Penalty method: z stands for map(response); in turns m, b are the best of their rank for z (a reduced-rank
    regression) and every z_ij is set to the minimum of (relu(target) - relu(z))^2 + lambda (z - m x - b)^2, which has
    two candidates. `schedule` has (lambda, rounds); within one lambda the objective never grows. Of all rounds, and the
    linear start, the map with the least error behind the ReLU is given.

    Raises: as `by_response`, and for an empty schedule.
    """
    _check(responses, targets, rank)
    if not schedule or any(penalty <= 0 for penalty, _ in schedule):
        raise UsageError("needs penalties above 0", where="schedule", value=tuple(schedule))
    wide, goal = responses.double(), targets.double().relu()
    solver = _Regression(wide, rank)
    found = solver.fitted(targets.double())
    answer = found(wide)
    best, least = found, _loss(goal, answer)
    for penalty, rounds in schedule:
        for _ in range(rounds):
            found = solver.fitted(_auxiliary(goal, answer, penalty))
            answer = found(wide)
            loss = _loss(goal, answer)
            if loss < least:
                best, least = found, loss
    return _like(best, responses)


class _Regression:
    """Reduced-rank regressions on the same responses: what they share is computed once.

    With centred Z, X: m^ = Z^T X (X^T X)^-1, and of rank r the best is U U^T m^ with U the first left singular vectors
    of m^ L, X^T X = L L^T: the paper's generalised SVD.
    """

    def __init__(self, responses: Tensor, rank: int, *, whole: bool = False) -> None:
        self.rank, self.whole = rank, whole
        self.mean = responses.mean(dim=0)
        self.centred = responses - self.mean
        covariance = self.centred.T @ self.centred
        size = len(covariance)
        eye = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
        ridge = _RIDGE * covariance.diagonal().mean().clamp(min=1e-30)
        self.covariance = covariance
        self.lower = torch.linalg.cholesky(covariance + ridge * eye)

    def fitted(self, targets: Tensor) -> Affine:
        mean = targets.mean(dim=0)
        if self.whole:
            full = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
            gram = self.covariance
        else:
            cross = self.centred.T @ (targets - mean)
            full = torch.cholesky_solve(cross, self.lower).T
            spread = full @ self.lower
            gram = spread @ spread.T  # its eigenvectors are the left singular vectors of m^ L
        left = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, : self.rank]
        right = left.T @ full
        return Affine(left, right, mean - left @ (right @ self.mean))


def _auxiliary(goal: Tensor, answer: Tensor, penalty: float) -> Tensor:
    """The z of each element; `goal` is behind the ReLU."""
    off = answer.clamp(max=0)
    on = ((penalty * answer + goal) / (penalty + 1)).clamp(min=0)
    cost_off = goal.square() + penalty * (off - answer).square()
    cost_on = (on - goal).square() + penalty * (on - answer).square()
    return torch.where(cost_on < cost_off, on, off)


def _loss(goal: Tensor, answer: Tensor) -> float:
    return float((answer.relu() - goal).square().sum())


def _like(found: Affine, responses: Tensor) -> Affine:
    """Balanced factors in the type of the responses: both carry the square root of what a rank does."""
    norms = found.right.norm(dim=1).clamp(min=1e-30).sqrt()
    kind = responses.dtype
    return Affine((found.left * norms).to(kind), (found.right / norms[:, None]).to(kind), found.bias.to(kind))


def _check(responses: Tensor, targets: Tensor, rank: int) -> None:
    shapes = (tuple(responses.shape), tuple(targets.shape))
    if responses.dim() != 2 or targets.dim() != 2 or len(responses) != len(targets) or len(responses) < 2:
        raise UsageError("needs samples in rows, as many responses as targets", value=shapes)
    if not 1 <= rank <= min(responses.shape[1], targets.shape[1]):
        raise UsageError("the rank must be in 1..min(outputs, responses)", value=rank)
