"""Channels that go in several rounds, with training between them.

Each round cuts the network for real, so later rounds are faster and what is measured is exact. What goes is always
chosen in the network of the beginning, whose budget, floors, multiples and ties hold for the whole; what is gone
already has the lowest score there. So scores live in the channels of the beginning too and can be averaged.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import TechniqueError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._budget import Chosen, cost_without
from featherweight.techniques.pruning._repair import repaired
from featherweight.techniques.pruning._structured import Structured, look, record_choice, take_out

Measure: TypeAlias = Callable[[nn.Module, Anatomy, list[Group]], list[Tensor]]
"""Scores of all channels of some groups of a network."""


class Rounds:
    """A network that loses channels round by round; `model` is what is left of it, `scores` what was measured last."""

    def __init__(self, technique: Structured, model: nn.Module, context: Context, momentum: float = 0.0) -> None:
        """`momentum` (0..1) is the weight of earlier rounds in the scores."""
        self._technique, self._context, self._momentum = technique, context, momentum
        self._first, self.model = model, model
        self.known = look(model, context, technique.keep)
        self.groups = technique.prunable(model, self.known)
        self.scores: list[Tensor] = []
        self._left = [np.ones(len(group), dtype=bool) for group in self.groups]
        self.chosen: Chosen | None = None

    def measure(self, measure: Measure) -> None:
        """Takes the scores of the channels that are left."""
        known, groups = self._now()
        places = [place for place, group in enumerate(groups) if group is not None]
        found = measure(self.model, known, [group for group in groups if group is not None])
        fresh = [torch.zeros(len(left), dtype=torch.float64) for left in self._left]
        for place, values in zip(places, found, strict=True):
            fresh[place][torch.from_numpy(self._left[place])] = values.double().cpu()
        if self.scores:
            old = self._momentum
            fresh = [old * before + (1 - old) * now for before, now in zip(self.scores, fresh, strict=True)]
        self.scores = fresh

    def plan(self) -> int:
        """How many channels go in all, by the scores of now."""
        return len(self._choose(1.0).atoms)

    def cut(self, part: float) -> None:
        """Removes channels until `part` (0..1) of the ratio that is asked for is gone; repairs what is left."""
        self.chosen = self._choose(part)
        known, groups = self._now()
        going = set(self.chosen.atoms.tolist())
        atoms: list[int] = []
        for place, (group, now) in enumerate(zip(self.groups, groups, strict=True)):
            left = self._left[place]
            if now is None:
                continue
            goes = np.array([atom in going for atom in group.atoms.tolist()], dtype=bool) & left
            atoms += now.atoms[goes[left]].tolist()
            self._left[place] = left & ~goes
        step = dataclasses.replace(self.chosen, atoms=np.array(atoms, dtype=np.int64))
        changed = take_out(self.model, known, step)
        repaired(self._technique.repair, self.model, changed, known, step.atoms, self._context)
        self.model = changed

    def record(self) -> None:
        """Puts into the ledger what went in all rounds."""
        if self.chosen is None:
            return
        gone = [group.atoms[~left] for group, left in zip(self.groups, self._left, strict=True)]
        atoms = np.concatenate([*gone, np.zeros(0, dtype=np.int64)])
        reached, unit = self.chosen.reached, self._technique.of
        if unit != "latency":
            whole = cost_without(self.known, unit, self.groups, [])
            reached = 1 - cost_without(self.known, unit, self.groups, atoms) / whole
        chosen = Chosen(atoms, self._technique.ratio, reached, self.chosen.left_whole)
        record_choice(self._context, self.known, self.groups, chosen)

    def _choose(self, part: float) -> Chosen:
        technique = dataclasses.replace(self._technique, ratio=self._technique.ratio * part)
        scores = [_gone_first(values, left) for values, left in zip(self.scores, self._left, strict=True)]
        return technique.choice(self._first, self.known, self.groups, scores, self._context)

    def _now(self) -> tuple[Anatomy, Sequence[Group | None]]:
        """The groups of the network as it is, in the order of those of the beginning; None for one of which a single
        channel is left: it stays, and a size of one is no dimension of channels to who looks at the network anew."""
        if self.model is self._first:
            return self.known, self.groups
        known = look(self.model, self._context, self._technique.keep)
        table: dict[object, list[Group]] = {}
        for group in known.groups:
            table.setdefault(_key(group), []).append(group)
        found = [
            None if int(left.sum()) == 1 else _same(table, group, self.known.groups)
            for group, left in zip(self.groups, self._left, strict=True)
        ]
        for now, left in zip(found, self._left, strict=True):
            if now is not None and len(now) != int(left.sum()):
                raise TechniqueError(
                    "its channels are tied in another way once some of them are gone",
                    where=now.name,
                    value=[int(left.sum()), len(now)],
                    fix="Remove all at once, in one round.",
                )
        return known, found


def _key(group: Group) -> object:
    return group.kind, tuple((slot.tensor, slot.dim) for slot in group.slots)


def _same(table: dict[object, list[Group]], group: Group, first: Sequence[Group]) -> Group:
    """The group of now that stands where `group` stood among those of its kind."""
    key = _key(group)
    order = [item for item in first if _key(item) == key]
    place = next(number for number, item in enumerate(order) if item is group)
    if place >= len(table.get(key, [])):
        raise TechniqueError(
            "its channels cannot be found again once others are gone",
            where=group.name,
            value=len(group),
            fix="Remove all at once, in one round.",
        )
    return table[key][place]


def _gone_first(values: Tensor, left: NDArray[np.bool_]) -> Tensor:
    """The scores, with what is gone lowest; hardly lower, so that the mean of the others is moved little."""
    there = torch.from_numpy(left)
    result = values.clone()
    lowest = min(float(values[there].min()), 0.0) if bool(there.any()) else 0.0
    result[~there] = lowest - 1e-6 * max(float(values.abs().max()), 1e-12)
    return result
