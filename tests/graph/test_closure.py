"""What follows when cells go, against a plain reference that goes cell by cell, for one choice and for many."""

import numpy as np
import pytest

from featherweight.graph._closure import Closure, components, spans
from featherweight.graph.cells import Implied, Relation


def ids(*numbers):
    return np.array(numbers, dtype=np.int64)


def reference(relations, implied, gone):
    """The cells that are gone in the end, and whether that can be; `gone` is a set."""
    gone, before = set(gone), None
    while before != len(gone):
        before = len(gone)
        for item in implied:
            gone |= {int(b) for a, b in zip(item.causes, item.effects, strict=True) if a in gone}
        for item in relations:
            for (i, j), cell in np.ndenumerate(item.grid):
                if item.rows[i] in gone or item.columns[j] in gone:
                    gone.add(int(cell))
            for factor, lines in ((item.rows, item.grid), (item.columns, item.grid.T)):
                gone |= {int(f) for f, line in zip(factor, lines, strict=True) if gone.issuperset(line.tolist())}
    fits = all(
        (int(cell) in gone) == (int(item.rows[i]) in gone or int(item.columns[j]) in gone)
        for item in relations
        for (i, j), cell in np.ndenumerate(item.grid)
    )
    return gone, fits and 0 not in gone


def drawn(seed):
    """Random products and picked places over few cells, so that much repeats and hangs together; 0 is among them."""
    random = np.random.default_rng(seed)
    size = int(random.integers(12, 60))
    relations = []
    for _ in range(random.integers(1, 5)):
        n, m = random.integers(2, 5, size=2)
        least = int(random.integers(2))
        cells = random.permutation(np.arange(least, size))
        if random.random() < 0.3 or len(cells) < n * m + n + m:
            cells = random.integers(least, size, size=n * m + n + m)
        relations.append(Relation(cells[: n * m].reshape(n, m), cells[n * m :][:n], cells[n * m + n :][:m]))
    implied = [Implied(*random.integers(1, size, size=(2, 3))) for _ in range(random.integers(0, 3))]
    return relations, implied, size


@pytest.mark.parametrize("seed", range(60))
def test_one_choice_is_closed_as_the_reference_says(seed):
    relations, implied, size = drawn(seed)
    closure = Closure(relations, implied, size)
    for cell in range(1, size):
        for chosen in ({cell}, {cell, 1 + cell * 7 % (size - 1)}):
            expected, fits = reference(relations, implied, chosen)
            gone = np.zeros(size, dtype=bool)
            gone[list(chosen)] = True
            assert closure.follow(gone) == fits
            if 0 not in expected:
                assert set(np.flatnonzero(gone).tolist()) == expected


@pytest.mark.parametrize("seed", range(60))
def test_many_choices_at_once_are_those_of_each_alone(seed):
    relations, implied, size = drawn(seed)
    closure = Closure(relations, implied, size)
    atoms = np.arange(1, size)
    atoms = atoms[closure.holds(atoms)][::-1]
    found = {}
    for owner, cells in closure.each(atoms):
        assert (np.diff(np.flatnonzero(np.diff(owner, prepend=-1))) > 0).all()
        for place, cell in zip(owner.tolist(), cells.tolist(), strict=True):
            found.setdefault(place, []).append(cell)
    for place, atom in enumerate(atoms.tolist()):
        expected, fits = reference(relations, implied, {atom})
        assert sorted(found.get(place, [])) == (sorted(expected) if fits else [])


def test_more_choices_than_fit_into_a_piece_are_the_same(monkeypatch):
    grid = 1 + np.arange(12 * 20).reshape(12, 20)
    product = Relation(grid, 241 + np.arange(12), 253 + np.arange(20))
    atoms = 241 + np.arange(32)
    closure = Closure([product], [], 273)
    whole = [np.concatenate(part) for part in zip(*closure.each(atoms), strict=True)]
    monkeypatch.setattr("featherweight.graph._closure._BYTES", 1)
    pieces = list(closure.each(atoms))
    assert len(pieces) == 4
    assert all(np.array_equal(a, np.concatenate(b)) for a, b in zip(whole, zip(*pieces, strict=True), strict=True))


def test_what_picks_may_go_without_what_it_picks():
    closure = Closure([], [Implied(ids(1, 2), ids(3, 4))], 5)
    for chosen, expected in ((1, [1, 3]), (4, [4])):
        gone = np.zeros(5, dtype=bool)
        gone[chosen] = True
        assert closure.follow(gone)
        assert np.flatnonzero(gone).tolist() == expected


def test_parts_that_share_only_the_pinned_cell_are_apart():
    first = Relation(1 + np.arange(4).reshape(2, 2), ids(0, 5), ids(6, 7))
    second = Relation(8 + np.arange(4).reshape(2, 2), ids(0, 12), ids(13, 14))
    third = Implied(ids(14), ids(1))
    assert len(set(components([first, second], 15))) == 2
    assert len(set(components([first, second, third], 15))) == 1


def test_spans_stand_one_after_the_other():
    assert spans(ids(5, 0, 2), ids(2, 0, 3)).tolist() == [5, 6, 2, 3, 4]
    assert spans(ids(), ids()).tolist() == []
