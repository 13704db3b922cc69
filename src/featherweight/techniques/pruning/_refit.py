"""One layer fitted again: to what it gave in the whole network, from what it reads in the smaller one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from featherweight.techniques.pruning._layers import Fitted, as_normed, scale_behind
from featherweight.techniques.pruning._moments import Centred, Sums
from featherweight.techniques.pruning._walk import Step, Walk
from featherweight.training.patches import output_space

WIDEST: Final = 8192
"""Columns of a group that can be fitted; with more the Gram matrix alone takes half a gigabyte."""

_ROWS, _PER_COLUMN = 4096, (6, 64)  # rows wanted: at least so many for each column, and no more than for each
_RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, math.inf)  # of the energy of each column; infinite: the intercept alone
_HELD_OUT = 4  # every fourth example judges and does not teach


@dataclass(frozen=True)
class Seen:
    """What a layer reads and should give: `teach` and `judge` are of different examples."""

    teach: Sums
    judge: Sums


@dataclass(frozen=True)
class Look:
    """How the rows of a layer are taken: `outputs` are those that the smaller network has (None: all).

    `whole` and `tensors` are those of the whole and the smaller network. `examples` in all batches.
    """

    layer: Fitted
    whole: dict[str, Tensor]
    tensors: dict[str, Tensor]
    outputs: Tensor | None
    examples: int
    generator: torch.Generator

    def rows(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """X (groups, rows, columns), Y (groups, rows, outputs) and the example of each row, int64 (rows,)."""
        layer = self.layer
        read = step.after[layer.input]
        positions = self._drawn(read)
        target = self._kept(layer.rows(step.before[layer.node], positions)).double()
        if layer.norm is not None:
            target = as_normed(layer.norm, self.whole, self.tensors, self.outputs, target)
        if layer.shortcut is not None:
            whole, cut = (values[layer.shortcut] for values in (step.before, step.after))
            scale, enough = scale_behind(layer.norm, self.tensors, target.shape[1])
            difference = self._kept(layer.rows(whole, positions)).double() - layer.rows(cut, positions)
            target = target + torch.where(enough, difference / torch.where(enough, scale, 1.0), 0.0)
        owner = torch.arange(len(read), device=read.device).repeat_interleave(positions.shape[1])
        y = target.reshape(len(target), layer.groups, -1).transpose(0, 1)
        return layer.patches(read, positions), y, owner

    def _kept(self, values: Tensor) -> Tensor:
        return values if self.outputs is None else values[:, self.outputs]

    def _drawn(self, read: Tensor) -> Tensor:
        """Different places of the output for each example, int64 (examples, k)."""
        columns = self.tensors[self.layer.weight][0].numel()
        places = math.prod(output_space(self.layer.geometry, read)[1:])
        least, most = (each * columns for each in _PER_COLUMN)
        count = min(places, math.ceil(max(min(_ROWS, most), least) / self.examples))
        if places == count:
            return torch.arange(places, device=read.device).expand(len(read), -1)
        return torch.rand(len(read), places, generator=self.generator).topk(count).indices.to(read.device)


@torch.no_grad()
def fit(look: Look, seen: Seen, live: Tensor | None = None) -> float:
    """Writes the weights that give least error; what is left of the error on examples that did not teach, 0..1.

    `live` (groups, columns) is False for columns that get no weight. What is better as it was stays so.
    """
    layer, tensors = look.layer, look.tensors
    weight = tensors[layer.weight].detach()
    old = weight.double().reshape(layer.groups, len(weight) // layer.groups, -1)
    old = old if live is None else old * live[:, None]
    bias = torch.zeros_like(old[:, :, 0]) if layer.bias is None else tensors[layer.bias].double().view(old.shape[:2])
    intercept = layer.bias is not None or layer.norm is not None
    teach, judge = (part.centred(intercept=intercept) for part in (seen.teach, seen.judge))
    scale, _ = scale_behind(layer.norm, tensors, len(weight))
    counts = scale.square().view(bias.shape)  # an error counts as much as the norm lets through
    errors = [(judge.error(old, bias) * counts).sum(1)]
    for ridge in _RIDGES:
        tried = _solved(teach, old, ridge, live)
        errors.append((judge.error(tried, teach.offset(tried)) * counts).sum(1))
    best = torch.stack(errors).nan_to_num(nan=math.inf).argmin(0)  # the first of equals: what was there
    every = (seen.teach + seen.judge).centred(intercept=intercept)
    new, offset = old, bias
    for place, ridge in enumerate(_RIDGES, 1):
        chosen = best == place
        if bool(chosen.any()):
            solved = _solved(every, old, ridge, live)
            new = torch.where(chosen[:, None, None], solved, new)
            offset = torch.where(chosen[:, None], every.offset(solved), offset)
    _write(layer, tensors, new, offset)
    return float(torch.stack(errors).amin(0).sum() / errors[0].sum().clamp(min=1e-300))


def _solved(sums: Centred, old: Tensor, ridge: float, live: Tensor | None) -> Tensor:
    return old if ridge == math.inf else sums.solve(old, ridge, live)


def _write(layer: Fitted, tensors: dict[str, Tensor], weight: Tensor, offset: Tensor) -> None:
    """The intercept goes into the bias, or else out of the mean that the norm takes away."""
    with torch.no_grad():
        tensors[layer.weight].copy_(weight.reshape(tensors[layer.weight].shape))
        if layer.bias is not None:
            tensors[layer.bias].copy_(offset.flatten())
        elif layer.norm is not None:
            tensors[layer.norm.mean].sub_(offset.flatten().to(tensors[layer.norm.mean].dtype))


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, the model's own."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def visit(walk: Walk, looks: Sequence[Look]) -> list[Seen | None]:
    """Runs both networks up to the last of some layers and looks at all; None where one cannot be fitted.

    What comes before the first of them has its final weights.
    """
    layers = [look.layer for look in looks]
    wanted = {number for layer in layers for number in (layer.input, layer.node, layer.shortcut) if number is not None}
    places = [layer.node for layer in layers]
    gathered = [_Gathered(look) for look in looks]
    for step in walk.to(max(places), min(places), sorted(wanted)):
        for each in gathered:
            each.add(step)
    return [each.seen for each in gathered]


class _Gathered:
    def __init__(self, look: Look) -> None:
        self._look, self._examples = look, 0
        self._sums: tuple[Sums, Sums] | None = None

    def add(self, step: Step) -> None:
        if self._look.tensors[self._look.layer.weight][0].numel() > WIDEST:
            return
        x, y, owner = self._look.rows(step)
        apart = (owner + self._examples) % _HELD_OUT == _HELD_OUT - 1
        self._examples += int(owner.max()) + 1
        if self._sums is None:
            teach = Sums.around(x, y)
            self._sums = teach, teach.empty()
        self._sums[0].update(x[:, ~apart], y[:, ~apart])
        self._sums[1].update(x[:, apart], y[:, apart])

    @property
    def seen(self) -> Seen | None:
        """Both sums; None when there are too few examples to judge."""
        if self._sums is None or not all(part.count for part in self._sums):
            return None
        return Seen(*self._sums)
