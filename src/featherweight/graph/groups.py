"""Coupled channels: what has to go together when one channel goes, index by index.

A `Group` is a family of channels that are alike: each owns the same number of places in the same dimensions of the
same tensors. With a residual connection these are rows and columns of many layers; with a concatenation a channel owns
other columns in the reader than its neighbour of another branch; heads of an attention own blocks of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherweight.graph.cells import Ids
from featherweight.graph.structure import Structure


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
    the places in every head (columns). `name` is the path of the layer that makes the channels.
    """

    name: str
    kind: str
    atoms: Ids
    slots: tuple[Slot, ...]
    products: frozenset[int] = frozenset()  # the relations (by number) in which the channels are a factor

    def __len__(self) -> int:
        return len(self.atoms)


def groups_of(structure: Structure) -> tuple[Group, ...]:
    """All families of channels that can go, in the order of the network."""
    table = _Table(structure)
    families: dict[tuple[str, frozenset[int], bytes], list[tuple[int, Ids]]] = {}
    for atom, kind, products in _atoms(structure, table):
        members = table.members(atom, products)
        if members is not None and len(members):
            families.setdefault((kind, products, table.slot[members].tobytes()), []).append((atom, members))
    return tuple(table.group(kind, products, found) for (kind, products, _), found in families.items())


def _atoms(structure: Structure, table: "_Table") -> list[tuple[int, str, frozenset[int]]]:
    """Every cell that can go by itself, in the order of the tensors: no product of others."""
    products = structure.relations
    made = {int(cell) for item in products for cell in np.unique(item.grid)}
    kinds: dict[int, str] = {}
    uses: dict[int, set[int]] = {}
    for number, item in enumerate(products):
        for kind, ids in (("column", item.columns), ("row", item.rows)):
            for cell in np.unique(ids):
                kinds[int(cell)] = kind
                uses.setdefault(int(cell), set()).add(number)
    found = [int(cell) for cell in table.order() if int(cell) not in made]
    present = set(found)
    inner = [cell for cell in kinds if cell and cell not in made and cell not in present]
    return [(cell, kinds.get(cell, "channel"), frozenset(uses.get(cell, ()))) for cell in (*found, *inner)]


class _Table:
    """All places of all tensors, sorted by their cell."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.slots = [(name, dim) for name, dims in structure.tensors.items() for dim in range(len(dims))]
        arrays = [ids for dims in structure.tensors.values() for ids in dims]
        cells = np.concatenate([*arrays, np.zeros(0, dtype=np.int64)])
        slot = np.repeat(np.arange(len(arrays)), [len(ids) for ids in arrays])
        place = np.concatenate([*(np.arange(len(ids)) for ids in arrays), np.zeros(0, dtype=np.int64)])
        free = cells > 0
        order = np.argsort(cells[free], kind="stable")
        self._first = cells[free]
        self.cell, self.slot, self.place = cells[free][order], slot[free][order], place[free][order]

    def order(self) -> Ids:
        """The cells in the order in which tensors have them."""
        cells, first = np.unique(self._first, return_index=True)
        return cells[np.argsort(first)]

    def members(self, atom: int, products: frozenset[int]) -> Ids | None:
        """The numbers of the places that go with an atom; None when it cannot go."""
        if not products:
            start, end = np.searchsorted(self.cell, [atom, atom + 1])
            return np.arange(start, end)
        cells = self._closure(atom)
        if cells is None:
            return None
        starts = np.searchsorted(self.cell, cells)
        ends = np.searchsorted(self.cell, cells, side="right")
        ranges = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
        members = np.concatenate([*ranges, np.zeros(0, dtype=np.int64)])
        return members[np.lexsort((self.place[members], self.slot[members]))]

    def _closure(self, atom: int) -> Ids | None:
        structure = self.structure
        gone = np.zeros(structure.size, dtype=bool)
        gone[atom] = True
        return np.flatnonzero(gone) if structure.follow(gone) else None

    def group(self, kind: str, products: frozenset[int], found: list[tuple[int, Ids]]) -> Group:
        """One family out of atoms with the same slots."""
        members = np.stack([places for _, places in found])
        slot, place = self.slot[members[0]], self.place[members]
        slots = []
        for number in dict.fromkeys(slot.tolist()):
            name, dim = self.slots[number]
            role = self.structure.flow.roles.get((name, dim), "")
            slots.append(Slot(name, dim, role, place[:, slot == number]))
        atoms = np.array([atom for atom, _ in found], dtype=np.int64)
        return Group(_name(slots), kind, atoms, tuple(slots), products)


def _name(slots: Sequence[Slot]) -> str:
    chosen = next((item for item in slots if item.role == "out"), slots[0])
    return chosen.tensor.rpartition(".")[0] or chosen.tensor
