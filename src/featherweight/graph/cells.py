"""Which single channels must go together: a union-find over cells, and products of two families of cells.

Every index of every dimension of every tensor in a network has a cell, a number from 0. Cells that were united are
removed together or not at all. Cell 0 stands for everything that never goes: batch, pixels, inputs, outputs.

Where a dimension is a product, as (heads, width) is flattened to features, a relation says so: the cell at (i, j) is
gone exactly when row i or column j is. So a head can go, or the same place in every head, and nothing else. Where
places are picked by numbers of the network, a place goes with what it picks, and may go alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.int64]
"""Cell numbers, one for each index of a dimension."""

PINNED: Final = 0


@dataclass(frozen=True)
class Relation:
    """`grid[i, j]` is gone exactly when `rows[i]` or `columns[j]` is; shapes (n, m), (n,), (m,), n and m above 1."""

    grid: Ids
    rows: Ids
    columns: Ids


@dataclass(frozen=True)
class Implied:
    """`effects[i]` is gone when `causes[i]` is, and may be gone without it; both of shape (n,)."""

    causes: Ids
    effects: Ids


class Cells:
    """All cells of a network. Arrays that are handed out stay valid; `find` gives the present representatives."""

    def __init__(self) -> None:
        self._parent: Ids = np.zeros(1024, dtype=np.int64)
        self._count = 1
        self.relations: list[Relation] = []
        self.implied: list[Implied] = []
        self.reasons: list[tuple[Ids, str]] = []

    @property
    def count(self) -> int:
        """How many cells there are, the pinned one included."""
        return self._count

    def fresh(self, count: int) -> Ids:
        """`count` new cells, each on its own."""
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        while self._count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
        self._parent[ids] = ids
        return ids

    def find(self, ids: Ids) -> Ids:
        """The representative of each cell: the lowest number among those united with it."""
        roots: Ids = self._parent[ids]
        while True:
            above: Ids = self._parent[roots]
            if (above == roots).all():
                self._parent[ids] = roots
                return roots
            roots = above

    def unite(self, left: Ids, right: Ids) -> None:
        """Index by index: what goes on the left goes on the right. The arrays have one length."""
        if left is right:
            return
        while True:
            a, b = self.find(left), self.find(right)
            differ = a != b
            if not differ.any():
                return
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            np.minimum.at(self._parent, high, low)  # one of several lows wins; the next round unites the others

    def pin(self, ids: Ids, reason: str) -> None:
        """Nothing of these is ever removed."""
        if self.find(ids).any():
            self.reasons.append((ids.copy(), reason))
            self.unite(ids, np.zeros_like(ids))

    def imply(self, causes: Ids, effects: Ids) -> None:
        """Index by index: what goes on the left goes on the right, but not the other way round."""
        self.implied.append(Implied(causes, effects))

    def product(self, parts: Sequence[Ids]) -> Ids:
        """The cells of a flattened dimension: the last part runs fastest."""
        if not parts:
            return np.zeros(1, dtype=np.int64)
        flat = parts[-1]
        for part in reversed(parts[:-1]):
            flat = self._pairs(part, flat)
        return flat

    def factor(self, ids: Ids, sizes: Sequence[int]) -> list[Ids]:
        """The dimensions into which a flattened one falls; their sizes multiply to its length."""
        if not sizes:
            return []
        if len(sizes) == 1:
            return [ids]
        rows, columns = self._split(ids.reshape(sizes[0], prod(sizes[1:])))
        return [rows, *self.factor(columns, sizes[1:])]

    def join_rows(self, ids: Ids, count: int) -> Ids:
        """Cuts a dimension into `count` equal pieces that go together place by place; gives the first piece."""
        grid = ids.reshape(count, -1)
        first: Ids = grid[0]
        for row in grid[1:]:
            self.unite(first, row)
        return first

    def settle(self) -> None:
        """Follows what unions imply: equal factors have equal products, and factors that are pinned leave the other."""
        count = -1
        while count != (state := self._fingerprint()):
            count = state
            for item in self.implied:
                self.pin(item.causes[self.find(item.effects) == PINNED], "a place that is picked of it has to stay")
            seen: dict[bytes, Relation] = {}
            rest = []
            for relation in self.relations:
                rows, columns = self.find(relation.rows), self.find(relation.columns)
                if not rows.any() or not columns.any():
                    others = np.broadcast_to(columns if not rows.any() else rows[:, None], relation.grid.shape)
                    self.unite(relation.grid.ravel(), np.ascontiguousarray(others).ravel())
                    continue
                twin = seen.setdefault(rows.tobytes() + b"|" + columns.tobytes(), relation)
                if twin is relation:
                    rest.append(relation)
                self.unite(twin.grid.ravel(), relation.grid.ravel())
            self.relations = rest

    def _fingerprint(self) -> int:
        roots = self.find(np.arange(self._count, dtype=np.int64))
        return int((roots == np.arange(self._count)).sum()) * 1_000_003 + len(self.relations)

    def _pairs(self, rows: Ids, columns: Ids) -> Ids:
        if len(rows) == 1 and not self.find(rows).any():
            return columns
        if len(columns) == 1 and not self.find(columns).any():
            return rows
        if not self.find(columns).any():
            return np.repeat(rows, len(columns))
        if not self.find(rows).any():
            return np.tile(columns, len(rows))
        known = self._known_product(rows, columns)
        if known is not None:
            return known
        grid = self.fresh(len(rows) * len(columns)).reshape(len(rows), len(columns))
        self.relations.append(Relation(grid, rows, columns))
        return grid.ravel()

    def _known_product(self, rows: Ids, columns: Ids) -> Ids | None:
        """The cells of this product, or of the same one the other way round."""
        rows, columns = self.find(rows), self.find(columns)
        for relation in self.relations:
            if self._are(relation.rows, rows) and self._are(relation.columns, columns):
                return relation.grid.ravel()
            if self._are(relation.rows, columns) and self._are(relation.columns, rows):
                return np.ascontiguousarray(relation.grid.T).ravel()
        return None

    def _are(self, ids: Ids, roots: Ids) -> bool:
        return len(ids) == len(roots) and bool(np.array_equal(self.find(ids), roots))

    def _split(self, grid: Ids) -> tuple[Ids, Ids]:
        rows, columns = grid.shape
        zeros = np.zeros(max(rows, columns), dtype=np.int64)
        if columns == 1:
            return grid[:, 0], zeros[:1]
        if rows == 1:
            return zeros[:1], grid[0]
        roots = self.find(grid.ravel()).reshape(grid.shape)
        if (roots == roots[:, :1]).all():
            return np.ascontiguousarray(grid[:, 0]), zeros[:columns]
        if (roots == roots[:1]).all():
            return zeros[:rows], grid[0]
        for relation in self.relations:
            if relation.grid.shape == grid.shape and self._are(relation.grid.ravel(), roots.ravel()):
                return relation.rows, relation.columns
            if relation.grid.T.shape == grid.shape and self._are(relation.grid.T.ravel(), roots.ravel()):
                return relation.columns, relation.rows
        fresh = self.fresh(rows + columns)
        self.relations.append(Relation(grid.copy(), fresh[:rows], fresh[rows:]))
        return fresh[:rows], fresh[rows:]
