"""Searches among sets of blocks that meet a budget: all of them, along a beam, or by evolution."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, combinations
from math import comb
from typing import Final, TypeAlias

import torch

from featherweight.techniques.pruning.layer._depth import Choices

Gone: TypeAlias = frozenset[int]
Measure: TypeAlias = Callable[[Gone], float]
"""The score of the network without these blocks, higher is better."""

_MOST_MIXED: Final = 12  # blocks of unequal cost of which all 4096 sets are looked through
_TRIES: Final = 32  # for a set that was not judged yet


@dataclass
class Search:
    """At most `evaluations` sets are judged, each once; `found` holds their scores, in the order of judging."""

    choices: Choices
    measure: Measure
    evaluations: int
    generator: torch.Generator
    found: dict[Gone, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many may still be judged."""
        return self.evaluations - len(self.found)

    def judge(self, gone: Gone) -> float:
        """The score of a set."""
        if gone not in self.found:
            self.found[gone] = self.measure(gone)
        return self.found[gone]

    def best(self) -> Gone:
        """The set with the highest score that meets the budget; of equal ones the first that was judged."""
        return max((gone for gone in self.found if self.is_settled(gone)), key=lambda gone: self.found[gone])

    # sets that meet the budget -----------------------------------------------------------------------------------

    def is_settled(self, gone: Gone) -> bool:
        """Whether no block, taken out or put back, brings the set nearer to the budget."""
        return not self._moves(gone)

    def settle(self, gone: Gone) -> Gone:
        """Takes out or puts back blocks, drawn by lot, until none brings the set nearer."""
        while moves := self._moves(gone):
            gone = gone ^ {self._draw(moves)}
        return gone

    def every(self) -> list[Gone] | None:
        """All sets that meet the budget; None when there are more than may be judged."""
        count, savings = len(self.choices.blocks), self.choices.savings
        if len(set(savings)) == 1:
            size = len(self.settle(frozenset()))
            if comb(count, size) > self.evaluations:
                return None
            return [frozenset(numbers) for numbers in combinations(range(count), size)]
        if count > _MOST_MIXED:
            return None
        sets = chain.from_iterable(combinations(range(count), size) for size in range(count + 1))
        fitting = [gone for gone in map(frozenset, sets) if self.is_settled(gone)]
        return fitting if len(fitting) <= self.evaluations else None

    def _moves(self, gone: Gone) -> list[int]:
        now, slack = self.choices.miss(gone), 1e-9 * self.choices.whole
        back = [number for number in sorted(gone) if self.choices.miss(gone - {number}) < now - slack]
        return [*self.choices.nearer(gone), *back]

    # searches ----------------------------------------------------------------------------------------------------

    def beam(self, width: int) -> Gone:
        """Takes out one block after another, always going on from the `width` best sets.

        When evaluations run out, the sets are filled up in the order of the blocks' scores alone.
        """
        sets: list[Gone] = [frozenset()]
        alone: list[int] = []
        while True:
            grown = dict.fromkeys(gone | {number} for gone in sets for number in self.choices.nearer(gone))
            new = [gone for gone in grown if gone not in self.found]
            if not grown or len(new) > self.left - width:
                break
            for gone in grown:
                self.judge(gone)
            if not alone:
                ranked = sorted(grown, key=lambda gone: -self.found[gone])
                alone = [next(iter(gone)) for gone in ranked]
            whole = [gone for gone in sets if self.is_settled(gone)]
            sets = sorted([*whole, *grown], key=lambda gone: -self.judge(gone))[:width]
        for gone in dict.fromkeys(self._filled(gone, alone) for gone in sets[: max(1, width)]):
            self.judge(gone)
        return self.best()

    def _filled(self, gone: Gone, order: Sequence[int]) -> Gone:
        while nearer := self.choices.nearer(gone):
            gone = gone | {next((number for number in order if number in nearer), nearer[0])}
        return self.settle(gone)

    def evolve(self, population: int) -> Gone:
        """Keeps the `population` best sets; new ones mix two of them and exchange a block."""
        for gone in self._fresh(lambda: self.settle(frozenset()), min(population, self.left)):
            self.judge(gone)
        while self.left > 0:
            parents = sorted(filter(self.is_settled, self.found), key=lambda gone: -self.found[gone])[:population]
            children = list(self._fresh(partial(self._child, parents), 1))
            if not children:
                break
            self.judge(children[0])
        return self.best()

    def _child(self, parents: Sequence[Gone]) -> Gone:
        one, other = (parents[min(self._below(len(parents)), self._below(len(parents)))] for _ in range(2))
        mixed = (one & other) | {number for number in sorted(one ^ other) if self._below(2)}
        if mixed and self._below(4):
            mixed = mixed ^ {self._below(len(self.choices.blocks))}
        return self.settle(frozenset(mixed))

    def _fresh(self, make: Callable[[], Gone], count: int) -> Iterator[Gone]:
        """Up to `count` different sets that were not judged yet; fewer where there seem to be no more."""
        made: set[Gone] = set()
        for _ in range(count):
            for _ in range(_TRIES):
                gone = make()
                if gone not in self.found and gone not in made:
                    made.add(gone)
                    yield gone
                    break

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self.generator))

    def _draw(self, numbers: Sequence[int]) -> int:
        return numbers[self._below(len(numbers))]
