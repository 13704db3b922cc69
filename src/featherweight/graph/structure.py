"""What is left of a network when channels go: which cells follow, which indices of which tensors are kept."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featherweight.errors import SurgeryError
from featherweight.graph.cells import Ids, Relation
from featherweight.graph.flow import Flow

Mask: TypeAlias = NDArray[np.bool_]
"""One flag for each cell: whether it is gone."""


class Structure:
    """The cells of a network's tensors, by their representatives, and what follows when some of them go."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        find = flow.cells.find
        self.tensors: dict[str, tuple[Ids, ...]] = {
            name: tuple(find(ids) for ids in dims) for name, dims in flow.tensor_dims().items()
        }
        self.relations = [
            Relation(find(item.grid.ravel()).reshape(item.grid.shape), find(item.rows), find(item.columns))
            for item in flow.cells.relations
        ]
        self.size = flow.cells.count
        self._near = _components(self.relations)
        self._cells = [
            np.unique(np.concatenate([item.grid.ravel(), item.rows, item.columns])) for item in self.relations
        ]
        self._holding: dict[int, list[int]] = {}  # the relations in which a cell is
        for number, cells in enumerate(self._cells):
            for cell in cells.tolist():
                self._holding.setdefault(cell, []).append(number)

    def near(self, relations: Iterable[int]) -> list[int]:
        """The numbers of all relations that share cells with these, directly or through others."""
        return sorted({other for number in relations for other in self._near[number]})

    def follow(self, gone: Mask) -> bool:
        """Marks what products imply; whether the result is one that products allow, and spares what is pinned.

        Only relations that hold something that goes are looked at, so a few channels cost little in any network.
        """
        waiting = dict.fromkeys(self._touched(np.flatnonzero(gone)))
        seen: set[int] = set()
        while waiting:
            number = next(iter(waiting))
            del waiting[number]
            seen.add(number)
            item, cells = self.relations[number], self._cells[number]
            before = gone[cells]
            gone[item.grid[gone[item.rows]]] = True
            gone[item.grid[:, gone[item.columns]]] = True
            grid = gone[item.grid]
            gone[item.rows[grid.all(axis=1)]] = True
            gone[item.columns[grid.all(axis=0)]] = True
            waiting.update(dict.fromkeys(self._touched(cells[gone[cells] & ~before])))
        chosen = [self.relations[number] for number in seen]
        fits = all(bool((gone[item.grid] == (gone[item.rows][:, None] | gone[item.columns])).all()) for item in chosen)
        return fits and not gone[0]

    def _touched(self, cells: Ids) -> list[int]:
        """The relations in which these cells are; the pinned one ends it all anyway."""
        return [number for cell in cells.tolist() if cell for number in self._holding.get(cell, ())]

    def gone(self, atoms: Ids | Sequence[int]) -> Mask:
        """The cells that are gone when these atoms are.

        Raises: SurgeryError when the atoms do not fit each other, or something that has to stay would go.
        """
        gone = np.zeros(self.size, dtype=bool)
        gone[np.asarray(atoms, dtype=np.int64)] = True
        if not self.follow(gone):
            raise SurgeryError(
                "these channels cannot go together",
                value=np.asarray(atoms)[:8].tolist(),
                fix="Take channels of groups as they are listed, and leave one of every factor.",
            )
        return gone

    def kept(self, gone: Mask) -> dict[str, dict[int, Ids]]:
        """For each tensor that shrinks: the indices that are kept, by dimension.

        Raises: SurgeryError when a dimension would be empty.
        """
        found: dict[str, dict[int, Ids]] = {}
        for name, dims in self.tensors.items():
            for dim, ids in enumerate(dims):
                lost = gone[ids]
                if not lost.any():
                    continue
                if lost.all():
                    raise SurgeryError(
                        "nothing would be left of a layer",
                        where=name,
                        value=f"all {len(lost)} of dimension {dim}",
                        fix="Keep at least one channel of it: a smaller ratio, or keep=[the layer].",
                    )
                found.setdefault(name, {})[dim] = np.flatnonzero(~lost)
        return found


def _components(relations: Sequence[Relation]) -> list[list[int]]:
    """For each relation: those that share a cell with it, transitively, itself included."""
    parent = list(range(len(relations)))

    def top(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    owner: dict[int, int] = {}
    for number, item in enumerate(relations):
        for cell in np.unique(np.concatenate([item.grid.ravel(), item.rows, item.columns])).tolist():
            if cell:
                parent[top(number)] = top(owner.setdefault(cell, number))
    groups: dict[int, list[int]] = {}
    for number in range(len(relations)):
        groups.setdefault(top(number), []).append(number)
    return [groups[top(number)] for number in range(len(relations))]
