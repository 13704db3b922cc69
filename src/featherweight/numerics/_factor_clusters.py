"""Clustered low rank: filters that share a colour, and blocks of channels with few ranks each.

E. Denton, W. Zaremba, J. Bruna, Y. LeCun, R. Fergus 2014 (NIPS, "Exploiting linear structure within convolutional
networks for efficient evaluation"), sections 3.2 and 3.3. Clusters have equal sizes, as grouped convolutions need.
The paper clusters first and fits afterwards; here items go to the cluster whose space holds most of them, so both steps
minimise the error of the weights itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import UsageError
from featherweight.numerics._factor_tucker import Tucker, tucker

_ROUNDS = 30  # of assigning and fitting; it ends earlier when nothing moves


@dataclass(frozen=True)
class Monochrome:
    """kernel[order[f]] ~ colours[f // (n / C')] times shapes[f]: each filter reads one of C' mixtures of the inputs.

    colours (C', c), shapes (n, *places) in the order of the clusters, `order` (n) the filter at each place.
    """

    colours: Tensor
    shapes: Tensor
    order: Tensor

    def kernel(self) -> Tensor:
        """The kernel (n, c, *places) that the factors stand for, filters in their own order."""
        each = len(self.shapes) // len(self.colours)
        colours = self.colours.repeat_interleave(each, dim=0)
        places = self.shapes.dim() - 1
        sorted_kernel = colours.reshape(*colours.shape, *(1,) * places) * self.shapes[:, None]
        return sorted_kernel[torch.argsort(self.order)]


@dataclass(frozen=True)
class Bicluster:
    """Blocks of a kernel, block [g][h] between the inputs in cluster g and the outputs in cluster h, each Tucker-2.

    `inputs` (c) and `outputs` (n) hold the channel at each place of the order by clusters.
    """

    blocks: tuple[tuple[Tucker, ...], ...]
    inputs: Tensor
    outputs: Tensor

    def kernel(self) -> Tensor:
        """The kernel (n, c, *places) that the factors stand for."""
        columns = [torch.cat([block.kernel() for block in row], dim=0) for row in self.blocks]
        ordered = torch.cat(columns, dim=1)
        return ordered[torch.argsort(self.outputs)][:, torch.argsort(self.inputs)]


def monochromatic(kernel: Tensor, colours: int, generator: torch.Generator, starts: int = 10) -> Monochrome:
    """The filters (n, c, *places) in `colours` equal clusters, each filter one mixture of the inputs times a shape.

    Raises: UsageError when `colours` does not divide n.
    """
    _check_divides(len(kernel), colours, "filters")
    wide = kernel.detach().double().flatten(2)
    order, bases = _subspaces(wide, colours, 1, generator, starts)
    mixtures = torch.stack([basis[:, 0] for basis in bases])
    each = len(kernel) // colours
    shapes = torch.einsum("fc,fcp->fp", mixtures.repeat_interleave(each, dim=0), wide[order])
    return Monochrome(mixtures.to(kernel.dtype), shapes.reshape(-1, *kernel.shape[2:]).to(kernel.dtype), order)


def bicluster(
    kernel: Tensor, groups: tuple[int, int], ranks: tuple[int, int], generator: torch.Generator, starts: int = 10
) -> Bicluster:
    """Inputs in groups[0] and outputs in groups[1] equal clusters, each block with `ranks` (outputs', inputs').

    Raises: UsageError when the groups do not divide the channels, or the ranks exceed a block's.
    """
    _check_divides(kernel.shape[1], groups[0], "inputs")
    _check_divides(kernel.shape[0], groups[1], "outputs")
    wide = kernel.detach().double().flatten(2)
    by_input, by_output = _coordinates(wide.transpose(0, 1).flatten(1)), _coordinates(wide.flatten(1))
    inputs, _ = _subspaces(by_input, groups[0], ranks[1] * groups[1], generator, starts)
    outputs, _ = _subspaces(by_output, groups[1], ranks[0] * groups[0], generator, starts)
    ordered = kernel.detach()[outputs][:, inputs]
    columns = ordered.chunk(groups[0], dim=1)
    blocks = tuple(tuple(tucker(block, ranks) for block in column.chunk(groups[1], dim=0)) for column in columns)
    return Bicluster(blocks, inputs, outputs)


def _coordinates(rows: Tensor) -> Tensor:
    """The rows (m, d) as items (m, at most m, 1) with the same products between them: spaces stay what they are."""
    if rows.shape[1] > len(rows):
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        rows = vectors * values.clamp(min=0).sqrt()
    return rows.unsqueeze(2)


def _subspaces(
    items: Tensor, clusters: int, rank: int, generator: torch.Generator, starts: int
) -> tuple[Tensor, list[Tensor]]:
    """Items (m, d, p) in equal clusters, each near a space of `rank` dimensions of the d: the order, and the bases.

    The best of `starts`: around random items, and by chance.
    """
    best: tuple[float, Tensor, list[Tensor]] | None = None
    for number in range(max(1, starts)):
        owners = _first(items, clusters, generator, spread=number % 2 == 0)
        bases: list[Tensor] = []
        for _ in range(_ROUNDS):
            bases = [_basis(items[owners == cluster], rank) for cluster in range(clusters)]
            held = torch.stack([torch.einsum("dr,mdp->mrp", basis, items).square().sum((1, 2)) for basis in bases], 1)
            fresh = _equal_clusters(held)
            if torch.equal(fresh, owners):
                break
            owners = fresh
        else:
            bases = [_basis(items[owners == cluster], rank) for cluster in range(clusters)]
        kept = sum(
            float(torch.einsum("dr,mdp->mrp", basis, items[owners == cluster]).square().sum())
            for cluster, basis in enumerate(bases)
        )
        if best is None or kept > best[0] * (1 + 1e-12):
            best = (kept, torch.argsort(owners, stable=True), bases)
    if best is None:
        raise UsageError("no start was tried", value=starts)
    return best[1], best[2]


def _first(items: Tensor, clusters: int, generator: torch.Generator, *, spread: bool) -> Tensor:
    """First owners: of the items farthest from each other in angle, the nearest ones; or dealt out by chance."""
    count = len(items)
    if not spread:
        places = torch.randperm(count, generator=generator)
        return (places * clusters // count).to(items.device)
    flat = items.flatten(1)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-30)
    chosen = [int(torch.randint(count, (1,), generator=generator))]
    nearest = (flat @ flat[chosen[0]]).square()
    while len(chosen) < clusters:
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, (flat @ flat[chosen[-1]]).square())
    return _equal_clusters((flat @ flat[chosen].T).square())


def _basis(members: Tensor, rank: int) -> Tensor:
    """The first left singular vectors of the members side by side, (d, rank or fewer)."""
    wide = members.permute(1, 0, 2).flatten(1)
    vectors: Tensor = torch.linalg.svd(wide, full_matrices=False).U
    return vectors[:, :rank]


def _equal_clusters(held: Tensor) -> Tensor:
    """The cluster of each item, all of one size, for a large sum of held (m, clusters): greedy, then exchanges.

    Items with most to lose choose first; then pairs of items change places while that helps.
    """
    count, clusters = held.shape
    room = [count // clusters] * clusters
    top = held.topk(min(2, clusters), dim=1).values
    owners = torch.zeros(count, dtype=torch.int64, device=held.device)
    for item in torch.argsort(top[:, -1] - top[:, 0], stable=True).tolist():
        ranked = torch.argsort(held[item], descending=True, stable=True).tolist()
        cluster = next(cluster for cluster in ranked if room[cluster])
        owners[item], room[cluster] = cluster, room[cluster] - 1
    for _ in range(2 * count):
        now = held.gather(1, owners[:, None])
        moved = held[:, owners]  # [i, j]: item i in the cluster of item j
        gain = moved + moved.T - now - now.T
        best = int(gain.argmax())
        one, other = divmod(best, count)
        if float(gain[one, other]) <= 1e-12 * float(held.abs().max()):
            break
        owners[[one, other]] = owners[[other, one]]
    return owners


def _check_divides(count: int, parts: int, what: str) -> None:
    if parts < 1 or count % parts:
        raise UsageError(f"clusters must divide the {count} {what}", value=parts, fix="Take a divisor.")
