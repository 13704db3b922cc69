"""Feedback on the trellis: dependent levels whose errors later weights of the row make up for.

What `feedback.compensated` does on a plain grid, with the grid of `trellis`. A row has one path for each state of the
machine, and each path has its own weights left to quantize, because feedback depends on the errors made so far. Column
by column the two paths that lead to a state are compared by the output error and the bits of all their levels, and the
cheaper one survives. Notation and sources as in these two files; Tseng et al. 2024 ("QTIP") combine the two likewise.

Shapes: paths are the first axis (8), then groups and rows. Columns are worked on in blocks; what lies behind a block is
brought up to date once a block, so survivors only drag a block along.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.numerics.feedback import Feedback
from featherweight.numerics.rate import Costs, Levels, RateModel
from featherweight.numerics.rounding import PASSES
from featherweight.numerics.trellis import BRANCHES, SOURCES, odd_states

_BLOCK = 32  # columns
_SOURCES = torch.from_numpy(SOURCES)  # (8, 2): the states before each state
_PARITIES = torch.from_numpy(BRANCHES % 2)  # (8, 2): of the levels that lead from there
_GRIDS = torch.arange(len(SOURCES)).remainder(2)[:, None, None]  # (8, 1, 1)


@dataclass
class _Paths:
    """The surviving paths inside a block: weights left, errors over pivots, levels, and the path each came from."""

    rest: Tensor  # (8, groups, rows, width)
    errors: Tensor
    levels: Tensor  # int32
    origin: Tensor  # (8, groups, rows): which path it was when the block began

    def follow(self, source: Tensor) -> None:
        """Makes path s what path source[s] was, (8, groups, rows)."""
        wide = source[..., None].expand_as(self.rest)
        self.rest, self.errors = self.rest.gather(0, wide), self.errors.gather(0, wide)
        self.levels, self.origin = self.levels.gather(0, wide), self.origin.gather(0, source)


@dataclass(frozen=True)
class _Task:
    """What stays the same: `steps` (groups, rows), the feedback, and what a bit costs."""

    steps: Tensor
    feedback: Feedback
    price: float
    classes: Tensor | None  # (groups, rows, columns)
    tables: tuple[Tensor, Tensor] | None  # bits by class and size, for either grid

    @classmethod
    def of(cls, shape: torch.Size, steps: Tensor, feedback: Feedback, price: float, costs: Costs | None) -> "_Task":
        if costs is None or price <= 0:
            return cls(steps, feedback, 0.0, None, None)
        classes = torch.from_numpy(costs.classes).reshape(shape).long()
        half = len(costs.table) // costs.grids
        first, last = torch.from_numpy(costs.table[:half]), torch.from_numpy(costs.table[-half:])
        return cls(steps, feedback, price, classes, (first, last))


def dependent_compensated(
    weight: Tensor, steps: Tensor, feedback: Feedback, price: float, costs: Costs | None
) -> Levels:
    """Levels (groups * rows, columns) of the weights (groups, rows, columns), as `feedback.compensated` gives them.

    `price` is in squared steps of the trellis at the mean energy.
    """
    groups, rows, columns = weight.shape
    task = _Task.of(weight.shape, steps, feedback, price, costs)
    rest = weight.float()[None].repeat(8, 1, 1, 1)
    total = torch.full((8, groups, rows), torch.inf, dtype=torch.float64)
    total[0] = 0.0
    blocks = []
    for first in range(0, columns, _BLOCK):
        last = min(columns, first + _BLOCK)
        inside = rest[..., first:last].clone()
        origin = torch.arange(8)[:, None, None].expand(8, groups, rows).clone()
        paths = _Paths(inside, torch.zeros_like(inside), torch.zeros_like(inside, dtype=torch.int32), origin)
        for column in range(first, last):
            total = _advance(paths, total, task, column, column - first)
        behind = paths.origin[..., None].expand(8, groups, rows, columns - last)
        rest[..., last:] = rest[..., last:].gather(0, behind) - paths.errors @ feedback.upper[:, first:last, last:]
        blocks.append((paths.levels, paths.origin))
    return _traced(blocks, total).reshape(groups * rows, columns).numpy()


def dependent_compensated_quantized(
    weight: Tensor, steps: Tensor, feedback: Feedback, price: float, model: RateModel
) -> Levels:
    """Levels with the error alone in mind, then `PASSES` times with the bits of the levels before."""
    levels = dependent_compensated(weight, steps, feedback, 0.0, None)
    for _ in range(PASSES if price > 0 else 0):
        levels = dependent_compensated(weight, steps, feedback, price, model.costs(levels, odd_states(levels)))
    return levels


def _advance(paths: _Paths, total: Tensor, task: _Task, column: int, place: int) -> Tensor:
    """Takes the paths over one column, which is `place` in the block; gives their costs so far."""
    x = paths.rest[..., place] / task.steps
    choices = [_nearest(x, parity, task, column) for parity in (0, 1)]
    levels, costs = (torch.stack(items) for items in zip(*choices, strict=True))
    both = total[_SOURCES] + costs[_PARITIES, _SOURCES]
    total, choice = both.min(dim=1)
    source = _SOURCES[:, :, None, None].expand_as(both).gather(1, choice[:, None])[:, 0]
    parity = _PARITIES[:, :, None, None].expand_as(both).gather(1, choice[:, None])[:, 0]
    level = torch.where(parity == 1, levels[1].gather(0, source), levels[0].gather(0, source))
    paths.follow(source)
    multiple = 2 * level - level.sign() * (source & 1)
    pivot = task.feedback.upper[:, column, column, None]
    error = (paths.rest[..., place] - multiple * task.steps) / pivot
    paths.errors[..., place], paths.levels[..., place] = error, level
    if place + 1 < paths.rest.shape[-1]:
        ahead = task.feedback.upper[:, None, column, column + 1 : column - place + paths.rest.shape[-1]]
        paths.rest[..., place + 1 :] -= error[..., None] * ahead
    return total


def _nearest(x: Tensor, parity: int, task: _Task, column: int) -> tuple[Tensor, Tensor]:
    """The best level of this parity for each path, (8, groups, rows), and what it costs."""
    sizes = x.abs()
    near = (((sizes + _GRIDS) / 2 - parity) / 2).round().mul(2).add(parity).clamp(min=parity)
    best, least = near, torch.full_like(x, torch.inf)
    for level in (near, (near - 2).clamp(min=parity), *([] if parity else [torch.zeros_like(near)])):
        cost = task.feedback.energy[:, column, None] * (sizes - (2 * level - _GRIDS * (level > 0))) ** 2
        if task.classes is not None and task.tables is not None:
            cost = cost + task.price * _bits(level, task.classes[:, :, column], task.tables)
        better = cost < least
        best, least = torch.where(better, level, best), torch.where(better, cost, least)
    return (best * x.sign()).to(torch.int32), least


def _bits(level: Tensor, classes: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Bits of levels (8, groups, rows) in the grids of their states."""
    top = tables[0].shape[1] - 1
    place = classes * (top + 1) + level.clamp(max=top).long()
    found = torch.empty_like(level)
    found[0::2], found[1::2] = tables[0].take(place[0::2]), tables[1].take(place[1::2])
    return found + 2 * (level.clamp(min=max(top, 1)) / max(top, 1)).log2()


def _traced(blocks: list[tuple[Tensor, Tensor]], total: Tensor) -> Tensor:
    """The levels of the cheapest paths, (groups, rows, columns), from the levels and origins of all blocks."""
    path = total.argmin(dim=0, keepdim=True)
    parts = []
    for levels, origin in reversed(blocks):
        parts.append(levels.gather(0, path[..., None].expand(1, *levels.shape[1:]))[0])
        path = origin.gather(0, path)
    return torch.cat(parts[::-1], dim=-1)
