"""Channels chosen one at a time: by the sum of what is removed, by least squares, or by distance.

Notation: c channels; G = A^T A (c, c) the Gram matrix of their contributions A to the next layer's output. Orders hold
numbers of channels, int64. Sources: Luo et al. 2017 (ICCV, "ThiNet"), algorithm 1 and equation 7; orthogonal least
squares: Chen, Billings, Luo 1989 (Int. J. Control 50), here for blocks of columns and many outputs; removal with refit:
Hassibi, Stork, Wolff 1993 ("Optimal brain surgeon"), for blocks; He et al. 2019 (CVPR, "Filter pruning via geometric
median").
"""

import torch
from torch import Tensor

from featherweight.errors import UsageError
from featherweight.numerics.least_squares import RIDGE, Moments, solve_normal

_FLOOR = 1e-12  # of a column's own energy: less than that of it is rounding


def least_sum(gram: Tensor, count: int) -> Tensor:
    """The `count` (0..c) channels whose summed contributions stay smallest, in the order in which they are removed.

    Each step removes the channel that leaves ||sum of all removed contributions||^2 smallest. Two channels that cancel
    out go together; no weight changes. Of equal choices the first is taken.

    Raises: UsageError when `count` is not in 0..c.
    """
    g = _checked(gram, count)
    overlap, energy = torch.zeros_like(g[0]), g.diagonal()
    order: list[int] = []
    for _ in range(count):
        scores = 2 * overlap + energy
        scores[order] = torch.inf
        order.append(int(scores.argmin()))
        overlap = overlap + g[order[-1]]
    return torch.tensor(order, dtype=torch.int64, device=gram.device)


def scales(gram: Tensor, kept: Tensor, correlation: Tensor | None = None, ridge: float = RIDGE) -> Tensor:
    """One factor for each kept channel (float64, shape of `kept`) that makes up best for those removed.

    They multiply the weights of the layer that reads the channels. `correlation` (c,) is A^T y of the output to reach;
    default: the sum of all contributions.
    """
    target = (gram.double().sum(1) if correlation is None else correlation.double())[kept]
    return solve_normal(gram.double()[kept][:, kept], target[:, None], ridge)[0][:, 0]


def forward(moments: Moments, count: int, spread: int = 1, *, intercept: bool = True) -> Tensor:
    """`count` (0..c) channels, each the one that, with those before it, leaves the least error of least squares.

    A channel is `spread` neighbouring columns. What a chosen channel explains is taken out of all others, so one step
    costs O(columns * spread * (columns + outputs)). Channels that explain nothing come last, the first of them first.

    Raises: UsageError when `count` is not in 0..c or `spread` does not divide the columns.
    """
    xx, xy = moments.gram(intercept=intercept).clone(), moments.cross(intercept=intercept).clone()
    channels = _channels(xx, count, spread)
    floor = _FLOOR * _blocks(xx, channels, spread).diagonal(dim1=1, dim2=2).amax(1)
    order: list[int] = []
    for _ in range(count):
        inverse = _inverses(_blocks(xx, channels, spread), floor)
        targets = xy.view(channels, spread, -1)
        gains = (inverse @ targets).mul_(targets).sum(dim=(1, 2))
        gains[order] = -torch.inf
        chosen = int(gains.argmax())
        order.append(chosen)
        own = slice(chosen * spread, (chosen + 1) * spread)
        through = xx[:, own] @ inverse[chosen]
        xy -= through @ xy[own]
        xx -= through @ xx[own]
    return torch.tensor(order, dtype=torch.int64, device=xx.device)


def backward(
    moments: Moments, count: int, spread: int = 1, *, ridge: float = RIDGE, intercept: bool = True
) -> tuple[Tensor, Tensor]:
    """The `count` (0..c) channels to remove, each the one whose loss, after a refit of all others, costs least.

    Gives their order and the error that each removal adds (float64, as long; squared, summed over samples and outputs;
    exact but for the ridge). With V the inverse of X^T X and W the weights of least squares, the loss of block b costs
    trace(W_b^T V_bb^-1 W_b).

    Raises: UsageError when `count` is not in 0..c, `spread` does not divide the columns, or some columns follow from
    others and there is no ridge.
    """
    xx = moments.gram(intercept=intercept)
    channels = _channels(xx, count, spread)
    identity = torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
    inverse, rank = solve_normal(xx, identity, ridge)
    if rank < len(xx):
        fix = "Give a ridge above 0."
        raise UsageError(f"{len(xx) - rank} of {len(xx)} columns follow from others", value=ridge, fix=fix)
    weight = inverse @ moments.cross(intercept=intercept)
    floor = _FLOOR * _blocks(inverse, channels, spread).diagonal(dim1=1, dim2=2).amax(1)
    order: list[int] = []
    costs: list[float] = []
    for _ in range(count):
        blocks = _inverses(_blocks(inverse, channels, spread), floor)
        own_weights = weight.view(channels, spread, -1)
        losses = (blocks @ own_weights).mul_(own_weights).sum(dim=(1, 2))
        losses[order] = torch.inf
        chosen = int(losses.argmin())
        order.append(chosen)
        costs.append(max(0.0, float(losses[chosen])))
        own = slice(chosen * spread, (chosen + 1) * spread)
        through = inverse[:, own] @ blocks[chosen]
        weight -= through @ weight[own]
        inverse -= through @ inverse[own]
    return torch.tensor(order, dtype=torch.int64, device=xx.device), torch.tensor(costs, dtype=torch.float64)


def median_distances(filters: Tensor) -> Tensor:
    """How far each filter is from all others: sum of Euclidean distances, float64, shape (n,), of filters (n, ...).

    Those with the least are nearest to the geometric median: the others can stand in for them.
    """
    flat = filters.detach().flatten(1).double()
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def _checked(gram: Tensor, count: int) -> Tensor:
    if gram.dim() != 2 or gram.shape[0] != gram.shape[1]:
        raise UsageError("the Gram matrix must be square", value=tuple(gram.shape))
    if not 0 <= count <= len(gram):
        raise UsageError(f"can remove 0 to {len(gram)} channels", value=count)
    return gram.detach().double()


def _channels(xx: Tensor, count: int, spread: int) -> int:
    if spread < 1 or len(xx) % spread:
        raise UsageError(f"columns a channel must divide the {len(xx)} columns", value=spread)
    if not 0 <= count <= len(xx) // spread:
        raise UsageError(f"can choose 0 to {len(xx) // spread} channels", value=count)
    return len(xx) // spread


def _blocks(matrix: Tensor, channels: int, spread: int) -> Tensor:
    """The blocks on the diagonal, (channels, spread, spread)."""
    return matrix.view(channels, spread, channels, spread).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def _inverses(blocks: Tensor, floor: Tensor) -> Tensor:
    """Inverses of symmetric blocks (m, s, s) where their eigenvalues are above `floor` (m,), zero elsewhere."""
    values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    used = values > floor[:, None]
    parts = torch.where(used, 1 / torch.where(used, values, 1.0), 0.0)
    return torch.einsum("mij,mj,mkj->mik", vectors, parts, vectors)
