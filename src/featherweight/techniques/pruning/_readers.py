"""What the channels of a group give to the layers that read them: all that choosing among them asks of the data.

Notation: a group of n channels; each layer that reads it has a matrix Z of contributions with one column a channel (He
et al. 2017, equation 1; Luo et al. 2017, equation 4). Layers are added up, each over the energy of its output, so that
an error counts by the share of a layer's output that it spoils.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.graph.surgery import Group
from featherweight.numerics.greedy import backward
from featherweight.numerics.least_squares import Moments
from featherweight.techniques.pruning._layers import Fitted, scale_behind
from featherweight.techniques.pruning._refit import Look, Seen

_RIDGE = 1e-6
_WIDEST = 3000  # columns that are taken away one channel after the other


@dataclass(frozen=True)
class Reader:
    """A layer that reads a group: channel i owns the columns `columns[i]`, int64 (n, columns a channel)."""

    layer: Fitted
    columns: Tensor


@dataclass(frozen=True)
class Parts:
    """`gram` = Z^T Z (n, n) and `reached` = Z^T y (n,), float64, over the energy of y; y: what is left to give.

    `columns`: of one layer alone, X^T X and X^T y of the channels' columns, over the same energy.
    """

    gram: Tensor
    reached: Tensor
    columns: tuple[Tensor, Tensor] | None = None

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(self.gram + other.gram, self.reached + other.reached)

    def costs(self) -> Tensor:
        """For each channel the error, as a share of the output, that its loss adds when the best goes first.

        The weights that read the others are fitted anew each time; where several layers read them, they are scaled.
        What goes later never costs less.
        """
        xx, xy = (self.gram, self.reached[:, None]) if self.columns is None else self.columns
        moments = Moments(xy.shape[0], xy.shape[1], xx.device)
        moments.count, moments.xx, moments.xy = 1, xx.clone(), xy.clone()
        spread = len(xx) // len(self.gram)
        order, costs = backward(moments, len(self.gram), spread, ridge=_RIDGE, intercept=False)
        found = torch.empty_like(costs)
        found[order] = costs.cummax(0).values
        return found


def readers_of(group: Group, layers: dict[str, Fitted], weights: dict[str, Tensor]) -> list[Reader]:
    """The layers, by the name of their weight, that read the channels of a group by whole columns."""
    found = []
    for slot in group.slots:
        layer = layers.get(slot.tensor)
        if slot.role != "in" or slot.dim != 1 or layer is None or layer.groups != 1:
            continue
        taps = weights[slot.tensor][0, 0].numel()
        places = torch.from_numpy(slot.index)[:, :, None] * taps + torch.arange(taps)
        found.append(Reader(layer, places.flatten(1)))
    return sorted(found, key=lambda reader: reader.layer.node)


def parts_of(reader: Reader, look: Look, seen: Seen) -> Parts:
    """What the channels give to one layer, beyond what its other columns (other groups) give."""
    intercept = reader.layer.bias is not None or reader.layer.norm is not None
    sums = (seen.teach + seen.judge).centred(intercept=intercept)
    weight = look.tensors[reader.layer.weight].detach().double().flatten(1)
    scale, _ = scale_behind(reader.layer.norm, look.tensors, len(weight))
    scale = scale.to(weight)
    weight = weight * scale[:, None]
    own = reader.columns.flatten().to(weight.device)
    others = weight.clone()
    others[:, own] = 0.0
    target = sums.xy[0] * scale - sums.xx[0] @ others.T
    energy = float((sums.yy[0] * scale.square()).sum())
    count, spread = reader.columns.shape
    mine, products = weight[:, own], sums.xx[0][own][:, own]
    gram = ((mine.T @ mine) * products).view(count, spread, count, spread).sum((1, 3))
    reached = (mine.T * target[own]).sum(1).view(count, spread).sum(1)
    share = 1 / max(energy, 1e-300)
    alone = (products * share, target[own] * share) if len(own) <= _WIDEST else None
    return Parts((gram + gram.T) * (share / 2), reached * share, alone)


def together(parts: Sequence[Parts]) -> Parts:
    """The sum of some, at least one."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole
