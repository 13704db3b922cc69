"""Which ranks the parts of a network get, by the settings of a technique."""

import math
from collections.abc import Sequence
from typing import Protocol

from torch import nn

from featherweight.core.context import Context
from featherweight.errors import TraceError
from featherweight.graph.record import record
from featherweight.numerics.factor import energy_product
from featherweight.profiling.macs import Macs
from featherweight.techniques.representation.low_rank._parts import Measure, Part, Ranks

__all__ = ["Ranks", "choose", "fixed_cost"]


class Wish(Protocol):
    """The settings that ask for ranks; see LowRank."""

    @property
    def keep(self) -> float:
        """How much is kept."""
        ...

    @property
    def of(self) -> str:
        """Of what."""
        ...

    @property
    def rank(self) -> int | None:
        """The rank of every part, in place of `keep`."""
        ...

    @property
    def multiple(self) -> int:
        """What ranks are multiples of."""
        ...


def choose(wish: Wish, parts: Sequence[Part], fixed: float) -> list[Ranks | None]:
    """The ranks of each part; None where its factors would not cost less than it does whole.

    `fixed` is what the rest of the network costs; a budget is a share of all.
    """
    if wish.rank is None and wish.of in ("macs", "parameters"):
        found = _within_budget(wish, parts, fixed)
    else:
        found = [_alone(wish, part) for part in parts]
    return [ranks if part.cost(ranks) < part.whole else None for part, ranks in zip(parts, found, strict=True)]


def fixed_cost(model: nn.Module, context: Context, parts: Sequence[Part], measure: Measure) -> float:
    """What the network costs beside the parts. Where it cannot be recorded the parts are all that is counted."""
    if measure == "parameters":
        total: float = sum(parameter.numel() for parameter in model.parameters())
    else:
        try:
            total = Macs().count(record(model, context.example).graph, 1).value
        except TraceError:
            return 0.0
    return max(0.0, total - sum(part.whole for part in parts))


def _within_budget(wish: Wish, parts: Sequence[Part], fixed: float) -> list[Ranks]:
    budget = wish.keep * (sum(part.whole for part in parts) + fixed) - fixed
    ladders = [part.ladder(wish.multiple) for part in parts if part.ladder is not None]
    if len(ladders) < len(parts):
        return _evenly(parts, budget, wish.multiple)
    return [ladder.ranks[rung] for ladder, rung in zip(ladders, energy_product(ladders, budget), strict=True)]


def _evenly(parts: Sequence[Part], budget: float, multiple: int) -> list[Ranks]:
    """Parts of one rank that all keep the same share of their cost, as large as the budget allows."""

    def at(share: float) -> list[Ranks]:
        return [_largest(part, share * part.whole, multiple) for part in parts]

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        costs = sum(min(part.whole, part.cost(ranks)) for part, ranks in zip(parts, at(middle), strict=True))
        low, high = (middle, high) if costs <= budget else (low, middle)
    return at(low)


def _largest(part: Part, most: float, multiple: int) -> Ranks:
    """The largest multiple whose cost is at most `most`; the smallest where none is."""
    low, high = 1, max(1, part.full[0] // multiple)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if part.cost((middle * multiple,)) <= most else (low, middle - 1)
    return (min(low * multiple, part.full[0]),)


def _alone(wish: Wish, part: Part) -> Ranks:
    """The ranks of a part that no other part's ranks depend on."""
    if wish.rank is not None:
        return tuple(min(wish.rank, full) for full in part.full)
    if wish.of == "energy" and part.ladder is not None:
        ladder = part.ladder(1)
        rungs = [rung for rung, energy in enumerate(ladder.energy) if energy >= wish.keep - 1e-12]
        ranks = ladder.ranks[rungs[-1]] if rungs else part.full
    else:
        ranks = tuple(max(1, round(wish.keep * full)) for full in part.full)
        if wish.of == "automatic":
            ranks = tuple(max(pair) for pair in zip(ranks, part.automatic(), strict=True))
    step = wish.multiple
    return tuple(min(math.ceil(rank / step) * step, full) for rank, full in zip(ranks, part.full, strict=True))
