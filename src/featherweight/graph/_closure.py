"""What follows when cells go, for one choice of cells or for many at once.

Cells hang together by steps: a product (`Relation`), whose cell at (i, j) is gone exactly when row i or column j is,
and `Implied` cells, which go when their causes do and may go without them. Steps that share no cell, directly or
through others, lie in different components. A component is closed for many choices at once: each cell has one bit for
each choice, and a step is a few operations on whole rows of bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featherweight.graph.cells import PINNED, Cells, Ids, Implied, Relation

Bits: TypeAlias = NDArray[Any]
"""Shape (cells, words): which choices each cell is gone in; whole bytes of choices, or flags for one."""

_BYTES = 2**23  # of bits that are worked on at once


class _Step(Protocol):
    """Cells of which some follow from others; `cells` are numbers within the component, each once.

    `plain`: nothing new follows from what it set itself.
    """

    @property
    def cells(self) -> Ids: ...

    @property
    def plain(self) -> bool: ...

    def spread(self, block: Bits) -> None:
        """Sets what follows, in place, in the rows of bits of `cells`."""

    def unfit(self, block: Bits) -> Bits:
        """The choices in which something is gone without what it needs to be, shape (words,)."""


@dataclass(frozen=True)
class _Product:
    """A relation, its cells by their place in `cells`; `plain` when none of them occurs twice."""

    cells: Ids
    grid: Ids
    rows: Ids
    columns: Ids
    plain: bool

    def spread(self, block: Bits) -> None:
        grid = block[self.grid] | block[self.rows][:, None] | block[self.columns]
        self._join(block, self.grid.ravel(), grid.reshape(-1, block.shape[1]))
        self._join(block, self.rows, np.bitwise_and.reduce(grid, axis=1))
        self._join(block, self.columns, np.bitwise_and.reduce(grid, axis=0))

    def _join(self, block: Bits, places: Ids, found: Bits) -> None:
        if self.plain:
            block[places] |= found
        else:
            np.bitwise_or.at(block, places, found)

    def unfit(self, block: Bits) -> Bits:
        implied = block[self.rows][:, None] | block[self.columns]
        found: Bits = np.bitwise_or.reduce(block[self.grid] ^ implied, axis=(0, 1))
        return found


@dataclass(frozen=True)
class _Link:
    """Implied cells, by their place in `cells`."""

    cells: Ids
    causes: Ids
    effects: Ids
    plain: bool = False

    def spread(self, block: Bits) -> None:
        np.bitwise_or.at(block, self.effects, block[self.causes])

    def unfit(self, block: Bits) -> Bits:
        return np.zeros(block.shape[1], dtype=block.dtype)


class Component:
    """Steps that hang together. `cells` are the numbers of all their cells, ascending."""

    def __init__(self, parts: Sequence[Relation | Implied]) -> None:
        self.cells: Ids = np.unique(np.concatenate([_all(part) for part in parts]))
        self._steps = [self._step(part) for part in parts]
        held = np.concatenate([step.cells for step in self._steps])
        owner = np.repeat(np.arange(len(parts)), [len(step.cells) for step in self._steps])
        order = np.argsort(held, kind="stable")
        self._holders = owner[order]
        self._ends = np.cumsum(np.bincount(held, minlength=len(self.cells)))
        self._counts = np.diff(self._ends, prepend=0)
        if self.cells[0] == PINNED:
            self._counts[0] = 0  # nothing follows from what cannot go

    def _step(self, part: Relation | Implied) -> _Step:
        cells = np.unique(_all(part))
        own = np.searchsorted(self.cells, cells)
        if isinstance(part, Implied):
            return _Link(own, np.searchsorted(cells, part.causes), np.searchsorted(cells, part.effects))
        grid, rows, columns = (np.searchsorted(cells, ids) for ids in (part.grid, part.rows, part.columns))
        return _Product(own, grid, rows, columns, len(cells) == grid.size + len(rows) + len(columns))

    def close(self, gone: Bits) -> Bits:
        """Sets in place all that follows in each choice; gives the choices that cannot be, shape (words,)."""
        count = len(self._steps)
        waiting, seen = [False] * count, [False] * count
        self._wake(waiting, np.flatnonzero(gone.any(axis=1)))
        forth = True
        while any(waiting):  # to and fro: most networks are chains
            for number in range(count) if forth else reversed(range(count)):
                if waiting[number]:
                    waiting[number], seen[number] = False, True
                    step = self._steps[number]
                    self._wake(waiting, _visited(step, gone))
                    waiting[number] &= not step.plain
            forth = not forth
        unfit = np.zeros(gone.shape[1], dtype=gone.dtype)
        for number, step in enumerate(self._steps):
            if seen[number]:
                unfit |= step.unfit(gone[step.cells])
        return unfit | gone[0] if self.cells[0] == PINNED else unfit

    def _wake(self, waiting: list[bool], cells: Ids) -> None:
        counts = self._counts[cells]
        for number in np.unique(self._holders[spans(self._ends[cells] - counts, counts)]).tolist():
            waiting[number] = True


def _visited(step: _Step, gone: Bits) -> Ids:
    """Spreads one step, in the choices that it is part of; gives the cells in which something changed."""
    block = gone[step.cells]
    words = np.flatnonzero(block.any(axis=0))
    before = block[:, words]
    after = before.copy()
    step.spread(after)
    changed = np.flatnonzero((before != after).any(axis=1))
    gone[step.cells[changed][:, None], words] = after[changed]
    return step.cells[changed]


def _all(part: Relation | Implied) -> Ids:
    if isinstance(part, Implied):
        return np.concatenate([part.causes, part.effects])
    return np.concatenate([part.grid.ravel(), part.rows, part.columns])


class Closure:
    """All products and implied cells of a network, of `size` cells."""

    def __init__(self, relations: Sequence[Relation], implied: Sequence[Implied], size: int) -> None:
        parts: list[Relation | Implied] = [*relations, *implied]
        members: dict[int, list[Relation | Implied]] = {}
        for part, label in zip(parts, components(parts, size), strict=True):
            members.setdefault(label, []).append(part)
        self._components = [Component(found) for found in members.values()]
        self._component_of: Ids = np.full(size, -1, dtype=np.int64)
        for number, component in enumerate(self._components):
            self._component_of[component.cells] = number
        self._component_of[PINNED] = -1

    def follow(self, gone: NDArray[np.bool_]) -> bool:
        """Marks what follows; whether that can be, and spares what is pinned."""
        touched = np.unique(self._component_of[np.flatnonzero(gone)])
        fits = True
        for number in touched[touched >= 0].tolist():
            component = self._components[number]
            held = gone[component.cells][:, None]
            fits &= not component.close(held).any()
            gone[component.cells] = held[:, 0]
        return fits and not gone[PINNED]

    def holds(self, cells: Ids) -> NDArray[np.bool_]:
        """Which of these cells are in any step."""
        return self._component_of[cells] >= 0

    def each(self, atoms: Ids) -> Iterator[tuple[Ids, Ids]]:
        """For atoms that steps hold: what is gone with each one alone, as pairs (place in `atoms`, cell) of one
        length, those of an atom together. Atoms that cannot go have no pairs."""
        owner = self._component_of[atoms]
        order = np.argsort(owner, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
            if len(chosen):
                component = self._components[owner[chosen[0]]]
                most = 8 * max(1, _BYTES // len(component.cells))
                for start in range(0, len(chosen), most):
                    yield _alone(component, atoms, chosen[start : start + most])


def _alone(component: Component, atoms: Ids, chosen: Ids) -> tuple[Ids, Ids]:
    """The pairs of the atoms at the places `chosen`."""
    count = len(chosen)
    gone = np.zeros((len(component.cells), -(-count // 8)), dtype=np.uint8)
    bit = np.arange(count)
    where = np.searchsorted(component.cells, atoms[chosen])
    np.bitwise_or.at(gone, (where, bit // 8), np.left_shift(1, 7 - bit % 8).astype(np.uint8))
    unfit = component.close(gone)
    fits = np.flatnonzero(np.unpackbits(unfit, count=count) == 0)
    words, inverse = np.unique(fits // 8, return_inverse=True)
    flags = np.unpackbits(gone[:, words], axis=1).T[8 * inverse + fits % 8]
    atom, cell = np.nonzero(flags)
    return chosen[fits[atom]], component.cells[cell]


def components(parts: Sequence[Relation | Implied], size: int) -> list[int]:
    """For each part a number, the same for parts that share a cell, transitively."""
    cells = [np.unique(_all(part)) for part in parts]
    numbers, owner = Cells(), np.zeros(size, dtype=np.int64)
    own = numbers.fresh(len(parts))
    for number, held in zip(own, cells, strict=True):
        owner[held] = number
    for number, held in zip(own, cells, strict=True):
        others = np.unique(owner[held[held != PINNED]])
        numbers.unite(others, np.full(len(others), number))
    found: list[int] = numbers.find(own).tolist()
    return found


def spans(starts: Ids, counts: Ids) -> Ids:
    """The numbers start, start + 1, ... of each start, as many as its count, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
