"""Coupled channels: what has to go together when one channel goes, index by index.

A `Group` is a family of channels that are alike: each owns the same number of places in the same dimensions of the
same tensors. With a residual connection these are rows and columns of many layers; with a concatenation a channel owns
other columns in the reader than its neighbour of another branch; heads of an attention own blocks of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from featherweight.graph._closure import spans
from featherweight.graph.cells import PINNED, Ids
from featherweight.graph.structure import Mask, Structure


@dataclass(frozen=True)
class Slot:
    """Where a group's channels lie in one dimension of one tensor.

    `index` has the shape (channels, places): channel i owns the places `index[i]`. `role` is "out" (rows of a weight),
    "in" (its columns), "scale" or "each" (one value a channel), "" where nothing is known.
    """

    tensor: str
    dim: int
    role: str
    index: Ids


@dataclass(frozen=True)
class Group:
    """A family of `len(atoms)` like channels; `atoms[i]` is the cell that stands for channel i.

    `kind` is "channel" for what stands alone; "row" and "column" are the two factors of a product, as heads (rows) and
    the places in every head (columns). `name` is the path of the layer that makes the channels. What picks channels of
    the group by number (a selection layer) loses them too and is not listed: each such layer makes a group of its own.
    """

    name: str
    kind: str
    atoms: Ids
    slots: tuple[Slot, ...]
    products: frozenset[int] = frozenset()  # the relations (by number) in which the channels are a factor

    def __len__(self) -> int:
        return len(self.atoms)


class _Atom(NamedTuple):
    """A cell that can go by itself: no product of others."""

    cell: int
    kind: str
    products: frozenset[int]


def groups_of(structure: Structure) -> tuple[Group, ...]:
    """All families of channels that can go, in the order of the network."""
    places = _Places(structure)
    atoms = _atoms(structure, places)
    owned = places.owned(np.array([atom.cell for atom in atoms], dtype=np.int64))
    slots = places.slot[owned.members].tobytes()
    width = places.slot.itemsize
    families: dict[tuple[str, frozenset[int], bytes], list[int]] = {}
    for number, (atom, start, end) in enumerate(zip(atoms, owned.starts.tolist(), owned.ends.tolist(), strict=True)):
        if start < end:
            families.setdefault((atom.kind, atom.products, slots[width * start : width * end]), []).append(number)
    return tuple(
        places.group(kind, products, np.array([atoms[number].cell for number in found]), owned.stacked(found))
        for (kind, products, _), found in families.items()
    )


def _atoms(structure: Structure, places: "_Places") -> list[_Atom]:
    """In the order of the tensors; then factors that no tensor has."""
    products = structure.relations
    made = np.unique(np.concatenate([*(item.grid.ravel() for item in products), np.zeros(0, dtype=np.int64)]))
    kinds: dict[int, str] = {}
    uses: dict[int, set[int]] = {}
    for number, item in enumerate(products):
        for kind, ids in (("column", item.columns), ("row", item.rows)):
            for cell in np.unique(ids).tolist():
                kinds[cell] = kind
                uses.setdefault(cell, set()).add(number)
    order = places.order()
    found = order[~np.isin(order, made)].tolist()
    known = {0, *made.tolist(), *found}
    found += [cell for cell in kinds if cell not in known]
    same: dict[frozenset[int], frozenset[int]] = {}  # thousands of atoms share few sets
    sets = {cell: same.setdefault(frozenset(used), frozenset(used)) for cell, used in uses.items()}
    return [_Atom(cell, kinds.get(cell, "channel"), sets.get(cell, frozenset())) for cell in found]


@dataclass(frozen=True)
class _Owned:
    """What atoms own: atom i has the places `members[starts[i] : ends[i]]`, ascending; none when it cannot go."""

    members: Ids
    starts: Ids
    ends: Ids

    def stacked(self, atoms: Sequence[int]) -> Ids:
        """The places of atoms that have the same number of them, shape (atoms, places)."""
        starts = self.starts[list(atoms)]
        count = self.ends[atoms[0]] - starts[0]
        found: Ids = self.members[starts[:, None] + np.arange(count)]
        return found


class _Places:
    """All places of all tensors, numbered in the order of the tensors: `slot` and `place` say where each one is."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.slots = [(name, dim) for name, dims in structure.tensors.items() for dim in range(len(dims))]
        arrays = [ids for dims in structure.tensors.values() for ids in dims]
        sizes = np.array([len(ids) for ids in arrays], dtype=np.int64)
        self._cell = np.concatenate([*arrays, np.zeros(0, dtype=np.int64)])
        self.slot = np.repeat(np.arange(len(arrays)), sizes)
        self.place = spans(np.zeros(len(arrays), dtype=np.int64), sizes)
        self._sorted = np.argsort(self._cell, kind="stable")
        self._counts = np.bincount(self._cell, minlength=structure.size)
        self._counts[PINNED] = 0
        self._starts = np.cumsum(np.bincount(self._cell, minlength=structure.size)) - self._counts

    def order(self) -> Ids:
        """The cells in the order in which tensors have them, but the pinned one."""
        cells, first = np.unique(self._cell[self._cell != PINNED], return_index=True)
        found: Ids = cells[np.argsort(first)]
        return found

    def owned(self, atoms: Ids) -> _Owned:
        """The places that go with each atom alone, without those that go because they pick from it by number: which
        these are differs from channel to channel, and they may go before."""
        products = self.structure.products
        tied = products.holds(atoms)
        where, free = np.flatnonzero(tied), np.flatnonzero(~tied)
        parts = [(free, atoms[free]), *((where[atom], cells) for atom, cells in products.each(atoms[tied]))]
        stays = self._stays(atoms)
        found = [self._places(atom[~stays[atom]], cells[~stays[atom]]) for atom, cells in parts]
        owner, members = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
        counts = np.bincount(owner, minlength=len(atoms))
        starts = np.zeros(len(atoms), dtype=np.int64)
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        starts[owner[first]] = first
        return _Owned(members, starts, starts + counts)

    def _stays(self, atoms: Ids) -> Mask:
        """Which atoms cannot go because of what picks from them."""
        closure = self.structure.closure
        stays = np.zeros(len(atoms), dtype=bool)
        if closure is not self.structure.products:
            held = np.flatnonzero(closure.holds(atoms))
            stays[held] = True
            for atom, _ in closure.each(atoms[held]):
                stays[held[atom]] = False
        return stays

    def _places(self, atoms: Ids, cells: Ids) -> tuple[Ids, Ids]:
        """Pairs (atom, cell), those of an atom together, as pairs (atom, place)."""
        counts = self._counts[cells]
        places, owner = self._sorted[spans(self._starts[cells], counts)], np.repeat(atoms, counts)
        both = np.sort(owner * len(self._cell) + places)  # one key sorts several times as fast as two
        return both // len(self._cell), both % len(self._cell)

    def group(self, kind: str, products: frozenset[int], atoms: Ids, members: Ids) -> Group:
        """One family out of atoms whose places `members`, shape (atoms, places), are in the same slots."""
        slot, place = self.slot[members[0]], self.place[members]
        starts = np.flatnonzero(np.diff(slot, prepend=-1))
        slots = []
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(slot)], strict=True):
            name, dim = self.slots[slot[start]]
            role = self.structure.flow.roles.get((name, dim), "")
            slots.append(Slot(name, dim, role, np.ascontiguousarray(place[:, start:end])))
        return Group(_name(slots), kind, atoms, tuple(slots), products)


def _name(slots: Sequence[Slot]) -> str:
    chosen = next((item for item in slots if item.role == "out"), slots[0])
    return chosen.tensor.rpartition(".")[0] or chosen.tensor
