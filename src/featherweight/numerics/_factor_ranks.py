"""How many ranks each layer keeps within a budget: the product of the energies that the layers keep, as large as it
gets.

X. Zhang, J. Zou, K. He, J. Sun 2016 (TPAMI, "Accelerating very deep convolutional networks for classification and
detection"), section 3.2: start from full rank and take away, one after the other, the rank that loses the smallest
share of its layer's energy for the cost it saves. Here a layer is a ladder of rungs, from all ranks down, so that
layers with one rank and with two (Tucker-2) stand side by side, and a layer whose factors would cost more than the
layer stays whole.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Ladder:
    """One layer: on each rung the ranks, the share of energy kept (0..1) and the cost, both falling from rung to rung.

    `whole` is the cost of the layer as it is.
    """

    ranks: tuple[tuple[int, ...], ...]
    energy: tuple[float, ...]
    cost: tuple[float, ...]
    whole: float

    def cheapest(self, rung: int) -> float:
        """What the layer costs on a rung: factored, or whole where that is cheaper."""
        return min(self.cost[rung], self.whole)

    def pays(self, rung: int) -> bool:
        """Whether the factors cost less than the layer."""
        return self.cost[rung] < self.whole


def matrix_ladder(energies: Tensor, unit: float, whole: float, multiple: int = 1) -> Ladder:
    """The ladder of a matrix: `energies` are its squared singular values, largest first; a rank costs `unit`.

    Ranks are multiples of `multiple`, and the full rank.
    """
    kept = _shares(energies)
    count = len(kept)
    ranks = [count, *(rank for rank in range(count - 1, 0, -1) if rank % multiple == 0)]
    if ranks[-1] > multiple or (count < multiple and ranks[-1] != count):
        ranks.append(min(multiple, count))
    return Ladder(
        tuple((rank,) for rank in ranks),
        tuple(kept[rank - 1] for rank in ranks),
        tuple(unit * rank for rank in ranks),
        whole,
    )


def tucker_ladder(
    energies: tuple[Tensor, Tensor],
    units: tuple[float, float, float],
    whole: float,
    multiple: int = 1,
    most: int | None = None,
) -> Ladder:
    """The ladder of Tucker-2 with the squared singular values of both unfoldings (outputs, inputs).

    `units` are the costs of an output rank, of an input rank and of a pair of them. Each rung takes away the outputs'
    or the inputs' ranks, whichever loses less of its energy for the cost. More than `most` inputs' ranks for each of
    the outputs' could hold nothing, and are none.
    """
    kept = [_shares(energy) for energy in energies]
    ranks = [len(kept[0]), len(kept[1])]
    ranks[1] = _bounded(ranks, most)
    rungs = [(ranks[0], ranks[1])]
    while True:
        moves = []
        for axis in (0, 1):
            lower = _below(ranks[axis], multiple)
            if lower:
                gone = ranks[axis] - lower
                saved = gone * (units[axis] + units[2] * ranks[1 - axis])
                moves.append((_lost(kept[axis][ranks[axis] - 1], kept[axis][lower - 1]) / saved, axis, lower))
        if not moves:
            break
        _, axis, lower = min(moves)
        ranks[axis] = lower
        ranks[1] = _bounded(ranks, most)
        rungs.append((ranks[0], ranks[1]))
    return Ladder(
        tuple(rungs),
        tuple(kept[0][out - 1] * kept[1][into - 1] for out, into in rungs),
        tuple(units[0] * out + units[1] * into + units[2] * out * into for out, into in rungs),
        whole,
    )


def _bounded(ranks: Sequence[int], most: int | None) -> int:
    return ranks[1] if most is None else min(ranks[1], most * ranks[0])


def energy_product(ladders: Sequence[Ladder], budget: float) -> list[int]:
    """The rung of each layer for which all layers together cost at most `budget` (in the unit of the costs).

    What the last step saves too much is given back where a rung fits. Where even the last rungs cost more, those are
    given.
    """
    rungs = [0] * len(ladders)
    total = sum(ladder.cheapest(0) for ladder in ladders)
    queue = [(_price(ladder, 0), number) for number, ladder in enumerate(ladders) if len(ladder.ranks) > 1]
    heapq.heapify(queue)
    while queue and total > budget:
        _, number = heapq.heappop(queue)
        ladder = ladders[number]
        total -= ladder.cheapest(rungs[number])
        rungs[number] += 1
        total += ladder.cheapest(rungs[number])
        if rungs[number] + 1 < len(ladder.ranks):
            heapq.heappush(queue, (_price(ladder, rungs[number]), number))
    while (up := _refill(ladders, rungs, budget - total)) is not None:
        number, rung = up
        total += ladders[number].cheapest(rung) - ladders[number].cheapest(rungs[number])
        rungs[number] = rung
    return rungs


def _refill(ladders: Sequence[Ladder], rungs: Sequence[int], left: float) -> tuple[int, int] | None:
    """The layer, and the rung above its own (the next, or whole), that gain most energy for what is left to spend."""
    moves = []
    for number, (ladder, rung) in enumerate(zip(ladders, rungs, strict=True)):
        for higher in {0, rung - 1} if rung > 0 else ():
            if ladder.cheapest(higher) - ladder.cheapest(rung) <= left:
                moves.append((-_lost(ladder.energy[higher], ladder.energy[rung]), number, higher))
    return min(moves)[1:] if moves else None


def rank_of_energy(energies: Tensor, share: float) -> int:
    """The smallest rank whose squared singular values (largest first) hold `share`, 0..1, of their sum; at least 1."""
    kept = _shares(energies)
    return next((rank for rank, part in enumerate(kept, 1) if part >= share - 1e-12), len(kept))


def _price(ladder: Ladder, rung: int) -> float:
    """The share of the layer's energy that the next rung loses, for the cost that it saves."""
    saved = ladder.cost[rung] - ladder.cost[rung + 1]
    return _lost(ladder.energy[rung], ladder.energy[rung + 1]) / saved


def _lost(now: float, then: float) -> float:
    return (now - then) / now if now > 0 else 0.0


def _shares(energies: Tensor) -> list[float]:
    """The share of the energy in the first 1, 2, ... values; 1 everywhere for zeros."""
    sums: list[float] = energies.double().cumsum(0).tolist()
    total = sums[-1]
    return [part / total for part in sums] if 0 < total < math.inf else [1.0] * len(sums)


def _below(rank: int, multiple: int) -> int:
    """The next smaller multiple; 0 where there is none."""
    return (rank - 1) // multiple * multiple
