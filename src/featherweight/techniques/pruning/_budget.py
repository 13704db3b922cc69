"""Which channels go so that a budget is met: from a score for every channel to the atoms to remove.

Channels are sorted into one queue. With scope "local" a channel's place is its rank within its group, so every group
gives the same share; with "global" it is its score over the mean score of its group, so groups compete, and what a
channel saves may count too. The shortest beginning of the queue that meets the budget goes.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featherweight.errors import SurgeryError, TechniqueError
from featherweight.graph._attributes import settings_for
from featherweight.graph.cells import Ids
from featherweight.graph.surgery import Anatomy, Group, UnsolvableError

Unit: TypeAlias = Literal["channels", "parameters", "macs", "bytes", "latency"]
_NEAR = 0.005  # share of the target that it may be missed by before blocks are left or taken out of order

Measure: TypeAlias = Callable[[Ids], float]
"""The cost of the network without these atoms."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is asked for: `ratio` is the share of `unit` to remove, 0 <= ratio < 1.

    `multiple`: the channels that are left in a group are a multiple of it, where the group has as many. `floor` is the
    share of each group's channels that stays whatever the scores say (at least one channel always does). With scope
    "global", scores count over the mean score of their group where `relative`, otherwise as they are, and over what a
    channel of the group saves (of the unit; for latency: multiply-adds), to the power `worth` >= 0. `layers`: shares of
    the channels of groups by pattern of their name, which go whatever the rest of the budget is.
    """

    ratio: float
    unit: Unit = "channels"
    scope: Literal["global", "local"] = "local"
    multiple: int = 1
    floor: float = 0.05
    relative: bool = True
    worth: float = 0.0
    layers: Mapping[str, float] = field(default_factory=dict)

    def fixed(self, group: Group) -> float | None:
        """The share that is fixed for a group; None where the budget decides."""
        return next((share for pattern, share in self.layers.items() if fnmatchcase(group.name, pattern)), None)


@dataclass(frozen=True)
class Chosen:
    """The atoms to remove, and how much of the unit they are: `asked` and `reached`, shares from 0 to 1.

    `left_whole` are the groups that code forbids to change, with the reason.
    """

    atoms: Ids
    asked: float
    reached: float
    left_whole: dict[str, str]


@dataclass(frozen=True)
class _Block:
    """Channels that go in one step; smaller keys go first."""

    key: float
    atoms: Ids


@dataclass(frozen=True)
class _Unit:
    """Channels of one group that are ranked together: those at `places` of the group with this number."""

    group: int
    places: Ids


_Ranked: TypeAlias = tuple[Ids, Tensor, float]
"""Atoms, their scores, and what these are divided by."""


@dataclass
class _Rules:
    """What code demands: units tied to one share, and groups that have to stay, with the reason."""

    units: list[_Unit]
    prices: list[float]  # by group: what scores are divided by
    ties: list[set[int]] = field(default_factory=list)  # of positions in `units`
    frozen: dict[int, str] = field(default_factory=dict)  # by position in `units`


def candidates(model: nn.Module, known: Anatomy, factors: Literal["auto", "rows", "columns"] = "auto") -> list[Group]:
    """The groups to prune: all single channels, and of products (heads x width) the one factor that is asked for.

    "auto" takes the factor with more channels, which is the finer one. Where the code cannot follow that factor, and
    where it has no part in a layer, the other one is taken.
    """
    by_component: dict[tuple[int, ...], list[Group]] = {}
    for group in known.groups:
        if len(group) > 1:
            key = tuple(known.structure.near(group.products)) if group.products else (-1,)
            by_component.setdefault(key, []).append(group)
    chosen = by_component.pop((-1,), [])
    products = [_one_factor(groups, factors) for groups in by_component.values()]
    if products and not _can_go(model, known, [group for part in products for group in part]):  # one by one, then
        able = {key: [group for group in part if _can_go(model, known, [group])] for key, part in by_component.items()}
        products = [_one_factor(part or by_component[key], factors) for key, part in able.items()]
    order = {id(group): place for place, group in enumerate(known.groups)}
    return sorted((*chosen, *(group for part in products for group in part)), key=lambda group: order[id(group)])


def _can_go(model: nn.Module, known: Anatomy, groups: Sequence[Group]) -> bool:
    """Whether the code can follow half of these groups, and nothing else."""
    try:
        atoms = _joined(group.atoms[: len(group) // 2] for group in groups)
        settings_for(known.structure, known.gone(atoms), model)
    except SurgeryError:
        return False
    return True


def _one_factor(groups: list[Group], factors: str) -> list[Group]:
    sides = {kind: [group for group in groups if group.kind == kind] for kind in ("row", "column")}
    if factors == "auto":
        largest = {kind: max((len(group) for group in side), default=0) for kind, side in sides.items()}
        factors = "rows" if largest["row"] >= largest["column"] else "columns"
    first, second = ("row", "column") if factors == "rows" else ("column", "row")
    chosen: list[Group] = []
    taken: set[tuple[str, int]] = set()
    for group in (*sides[first], *sides[second]):
        places = {(slot.tensor, slot.dim) for slot in group.slots}
        if group.kind == first or not places & taken:
            chosen.append(group)
            taken |= places
    return chosen


def choose(
    model: nn.Module,
    known: Anatomy,
    scores: Sequence[tuple[Group, Tensor]],
    budget: Budget,
    latency: Measure | None = None,
) -> Chosen:
    """The channels to remove: `scores` holds for each group one number a channel, shape (channels,), low goes first.

    Raises: TechniqueError when there is nothing to choose from, or scores are not finite.
    """
    if not scores:
        raise TechniqueError(
            "the network has no channels that can go",
            where=type(model).__name__,
            value=list(dict.fromkeys([*known.notes, *(why for _, why in known.structure.flow.cells.reasons)]))[:8],
            fix="These hold them: name fewer layers in `keep`, or write that part of the network in another way.",
        )
    for group, values in scores:
        if not bool(torch.isfinite(values).all()) or values.shape != (len(group),):
            raise TechniqueError("scores must be finite numbers, one a channel", where=group.name, value=values[:4])
    for pattern in budget.layers:
        if not any(fnmatchcase(group.name, pattern) for group, _ in scores):
            names = sorted({group.name for group, _ in scores})
            raise TechniqueError(
                "no layer of this name makes channels", where="layers", value=pattern, fix=f"Of {names[:8]}."
            )
    measure = _measure(known, budget.unit, scores, latency)
    prices = _prices(known, [group for group, _ in scores], budget)
    rules = _Rules([_Unit(number, np.arange(len(group))) for number, (group, _) in enumerate(scores)], prices)
    while True:
        chosen = known.structure.spared(_fill(_queue(scores, budget, rules), budget, measure))
        try:
            settings_for(known.structure, known.gone(chosen), model)
            break
        except UnsolvableError as error:
            _learn(known, scores, rules, error)
    whole = measure(np.zeros(0, dtype=np.int64))
    reached = 1 - measure(chosen) / whole if whole else 0.0
    left = {scores[rules.units[place].group][0].name: why for place, why in rules.frozen.items() if why}
    return Chosen(chosen, budget.ratio, reached, left)


def _learn(known: Anatomy, scores: Sequence[tuple[Group, Tensor]], rules: _Rules, error: UnsolvableError) -> None:
    """Ties what an expression in the code counts to one share; what is tied already, and does not help, stays whole."""
    parts = [set(known.structure.flow.cells.find(ids).tolist()) - {0} for ids in error.parts]
    counted = set().union(*parts)
    held = [_cells(known, scores[unit.group][0], unit) for unit in rules.units]
    involved = {place for place, cells in enumerate(held) if cells & counted and place not in rules.frozen}
    if not involved:
        raise error
    divided = [_divide(scores[rules.units[place].group][0], rules.units[place], parts) for place in sorted(involved)]
    if any(len(pieces) > 1 for pieces in divided) or not any(involved <= tie for tie in rules.ties):
        joined = involved.union(*(tie for tie in rules.ties if tie & involved))
        others = [_divide(scores[rules.units[place].group][0], rules.units[place], parts) for place in sorted(joined)]
        rules.ties = [tie for tie in rules.ties if not tie & joined]
        new = [piece for pieces in others for piece in pieces]
        start = len(rules.units)
        rules.units += new
        rules.frozen.update(dict.fromkeys(joined, ""))  # their pieces stand for them
        rules.ties.append(set(range(start, len(rules.units))))
        return
    rules.frozen.update(dict.fromkeys(involved, error.what))


def _divide(group: Group, unit: _Unit, parts: Sequence[set[int]]) -> list[_Unit]:
    """The unit in pieces that the code counts apart, as the zeros before and behind the channels of a shortcut."""
    if group.products:
        return [unit]
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for place in unit.places.tolist():
        kinds.setdefault(tuple(int(group.atoms[place]) in part for part in parts), []).append(place)
    return [_Unit(unit.group, np.array(places, dtype=np.int64)) for places in kinds.values()]


def _cells(known: Anatomy, group: Group, unit: _Unit) -> set[int]:
    atoms = group.atoms[unit.places]
    if not group.products:
        return set(atoms.tolist())
    gone = np.zeros(known.structure.size, dtype=bool)
    gone[atoms] = True
    known.structure.follow(gone)
    return set(np.flatnonzero(gone).tolist())


# the queue -------------------------------------------------------------------------------------------------------


def _queue(scores: Sequence[tuple[Group, Tensor]], budget: Budget, rules: _Rules) -> list[_Block]:
    tied = set().union(*rules.ties)
    blocks: list[_Block] = []
    for place, unit in enumerate(rules.units):
        if place not in tied and place not in rules.frozen:
            share = budget.fixed(scores[unit.group][0])
            blocks += _fixed(_blocks(*_part(scores, unit, rules), budget), share, len(unit.places))
    for tie in rules.ties:
        members = [_part(scores, rules.units[place], rules) for place in sorted(tie - rules.frozen.keys())]
        blocks += _tied(members, budget) if members else []
    return sorted(blocks, key=lambda block: block.key)


def _fixed(blocks: list[_Block], share: float | None, count: int) -> list[_Block]:
    """The blocks of a group whose share is fixed: as many as that, before all others."""
    if share is None:
        return blocks
    sizes = np.cumsum([len(block.atoms) for block in blocks])
    return [_Block(-math.inf, block.atoms) for block, size in zip(blocks, sizes, strict=True) if size <= share * count]


def _part(scores: Sequence[tuple[Group, Tensor]], unit: _Unit, rules: _Rules) -> _Ranked:
    group, values = scores[unit.group]
    return group.atoms[unit.places], values.double()[torch.from_numpy(unit.places)], rules.prices[unit.group]


def _prices(known: Anatomy, groups: Sequence[Group], budget: Budget) -> list[float]:
    """What the scores of each group are divided by: around 1 in the geometric mean."""
    if not budget.worth or budget.scope == "local":
        return [1.0] * len(groups)
    unit = "macs" if budget.unit == "latency" else budget.unit
    whole = cost_without(known, unit, groups, [])
    saved = [max(whole - cost_without(known, unit, groups, group.atoms[:1]), 1.0) for group in groups]
    mean = statistics.geometric_mean(saved)
    return [(item / mean) ** budget.worth for item in saved]


def _blocks(atoms: Ids, values: Tensor, price: float, budget: Budget) -> list[_Block]:
    """The channels that may go, a step each; a step leaves a multiple."""
    count, order = len(atoms), torch.argsort(values, stable=True).numpy()
    multiple = budget.multiple if count >= budget.multiple else 1
    least = -(-max(1, math.ceil(budget.floor * count)) // multiple) * multiple
    steps = [end for end in range(count % multiple, count - least + 1, multiple) if end > 0]
    if not steps:
        return []
    keys = _keys(values.numpy()[order], price, budget)
    highest = np.maximum.reduceat(keys[: steps[-1]], [0, *steps[:-1]]).tolist()
    runs = pairwise([0, *steps])
    return [_Block(key, atoms[order[start:end]]) for key, (start, end) in zip(highest, runs, strict=True)]


def _keys(ordered: NDArray[np.float64], price: float, budget: Budget) -> NDArray[np.float64]:
    """Where each channel stands, for the scores in ascending order."""
    if budget.scope == "local":
        return np.arange(1, len(ordered) + 1) / len(ordered)
    mean = float(np.abs(ordered).mean()) if budget.relative else 1.0
    below = ordered < 0  # what costs more than it gives goes before all, the dearest first
    return np.where(below, ordered * price, ordered / price) / mean if mean > 0 else ordered


def _tied(members: Sequence[_Ranked], budget: Budget) -> list[_Block]:
    """Steps in which all lose the same share."""
    parts = math.gcd(*(len(atoms) for atoms, _, _ in members))
    keys, blocks = [], []
    for atoms, values, price in members:
        order = torch.argsort(values, stable=True).numpy()
        keys.append(_keys(values.numpy()[order], price, budget).reshape(parts, -1).max(axis=1))
        blocks.append(atoms[order].reshape(parts, -1))
    least = max(1, math.ceil(budget.floor * parts))
    return [
        _Block(float(np.mean([key[step] for key in keys])), np.concatenate([block[step] for block in blocks]))
        for step in range(parts - least)
    ]


# the budget ------------------------------------------------------------------------------------------------------


def _fill(queue: list[_Block], budget: Budget, measure: Measure) -> Ids:
    """The atoms of the beginning of the queue that comes nearest to the budget."""
    if budget.unit == "channels" and budget.scope == "local":
        return _joined(block.atoms for block in queue if block.key <= budget.ratio + 1e-9)
    target = (1 - budget.ratio) * measure(np.zeros(0, dtype=np.int64))
    fixed = sum(block.key == -math.inf for block in queue)
    low, high = fixed, len(queue)  # at `low` blocks the cost is above the target, at `high` below, or all are gone
    while low < high:
        middle = (low + high) // 2
        if measure(_joined(block.atoms for block in queue[:middle])) > target:
            low = middle + 1
        else:
            high = middle
    first = _joined(block.atoms for block in queue[:fixed])
    rest = _nearest(queue[fixed:], low - fixed, target, lambda atoms: measure(np.concatenate([first, atoms])))
    return np.concatenate([first, rest])


def _nearest(queue: list[_Block], count: int, target: float, measure: Measure) -> Ids:
    """`count` blocks go just below the target: the last of them may be left, or another taken in its place.

    Where that misses by more than `_NEAR`, as when the last one is large, smaller ones are left for it, or it for them.
    """
    first = max(count - 1, 0)
    taken, last, others = queue[:first], queue[first : first + 1], queue[first + 1 :]

    def miss(blocks: list[_Block]) -> float:
        return abs(measure(_joined(block.atoms for block in blocks)) - target)

    best = min([taken, *([*taken, block] for block in [*last, *others[:7]])], key=miss)

    large = len(last[0].atoms) if last else 0
    small = [[block for block in part if len(block.atoms) < large] for part in (taken, others)]
    steps = [block for block in taken if len(block.atoms) >= large]

    def fewer(number: int) -> list[_Block]:
        return [*steps, *small[0][:number], *last]

    def others_instead(number: int) -> list[_Block]:
        return [*taken, *small[1][:number]]

    for build, most in ((fewer, len(small[0])), (others_instead, len(small[1]))):
        if miss(best) > _NEAR * target:
            best = min([best, *(build(number) for number in _around(build, most, target, measure))], key=miss)
    return _joined(block.atoms for block in best)


def _around(build: Callable[[int], list[_Block]], most: int, target: float, measure: Measure) -> list[int]:
    """The numbers of blocks, 0 to `most`, between which the cost falls below the target."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if measure(_joined(block.atoms for block in build(middle))) > target:
            low = middle + 1
        else:
            high = middle
    return sorted({max(low - 1, 0), low})


def _joined(parts: Iterable[Ids]) -> Ids:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _measure(known: Anatomy, unit: Unit, scores: Sequence[tuple[Group, Tensor]], latency: Measure | None) -> Measure:
    if unit == "latency":
        if latency is None:
            raise TechniqueError("a latency budget needs something to measure", value=unit)
        return latency
    groups = [group for group, _ in scores]

    def cost(atoms: Ids) -> float:
        try:
            return cost_without(known, unit, groups, atoms)
        except SurgeryError:
            return math.inf  # an impossible choice never comes nearest

    return cost


def cost_without(known: Anatomy, unit: Unit, groups: Sequence[Group], atoms: Ids | Sequence[int]) -> float:
    """What is left of a unit (no latency) without these atoms of the groups.

    Raises: SurgeryError for atoms that cannot go together.
    """
    if unit == "channels":
        return float(sum(len(group) for group in groups) - len(atoms))
    count = {"parameters": known.cost.parameters, "macs": known.cost.macs, "bytes": known.cost.bytes}[unit]
    return float(count(known.gone(atoms)))
