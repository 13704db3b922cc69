"""What is left of a network when channels go: which cells follow, which indices of which tensors are kept."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featherweight.errors import SurgeryError
from featherweight.graph._closure import Closure, components
from featherweight.graph.cells import Ids, Implied, Relation
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
        self.implied = [Implied(find(item.causes), find(item.effects)) for item in flow.cells.implied]
        self.products = Closure(self.relations, (), self.size)
        self.closure = Closure(self.relations, self.implied, self.size) if self.implied else self.products
        self._near: dict[int, list[int]] = {}
        self._labels = components(self.relations, self.size)
        for number, label in enumerate(self._labels):
            self._near.setdefault(label, []).append(number)

    def near(self, relations: Iterable[int]) -> list[int]:
        """The numbers of all relations that share cells with these, directly or through others."""
        return sorted({other for number in relations for other in self._near[self._labels[number]]})

    def follow(self, gone: Mask) -> bool:
        """Marks what products and picked places imply; whether the result can be, and spares what is pinned."""
        return self.closure.follow(gone)

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

    def spared(self, atoms: Ids) -> Ids:
        """These atoms without those that would leave a selection nothing to choose: the later ones stay first."""
        rank = {int(atom): place for place, atom in enumerate(atoms)}
        for item in self.implied:
            while len(rank) and self.gone(list(rank))[item.effects].all():
                needed = [self._above(int(cell)) & rank.keys() for cell in item.effects]
                best = max(needed, key=lambda cells: min((rank[cell] for cell in cells), default=-1))
                if not best:
                    break  # factors take it, and who removes them is told
                for cell in best:
                    del rank[cell]
        return np.array(list(rank), dtype=np.int64)

    def _above(self, cell: int) -> set[int]:
        """The cell and all with which it goes because it picks from them."""
        found, new = {cell}, {cell}
        while new:
            above = [item.causes[np.isin(item.effects, list(new))] for item in self.implied]
            new = set(np.concatenate(above).tolist()) - found
            found |= new
        return found

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
