"""Cells: unions, products and factors, index by index."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featherweight.graph.cells import Cells


def test_united_cells_have_one_representative():
    cells = Cells()
    left, right = cells.fresh(3), cells.fresh(3)
    cells.unite(left, right)
    assert np.array_equal(cells.find(left), cells.find(right))
    assert len(np.unique(cells.find(left))) == 3


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=60))
def test_unions_are_those_of_a_plain_union_find(pairs):
    cells = Cells()
    cells.fresh(40)
    if pairs:
        left, right = (np.array(side) for side in zip(*pairs, strict=True))
        cells.unite(left, right)
    groups = {number: {number} for number in range(1, 41)}
    for a, b in pairs:
        joined = groups[a] | groups[b]
        for member in joined:
            groups[member] = joined
    roots = cells.find(np.arange(41))
    for number, group in groups.items():
        assert roots[number] == min(group)


def test_flattening_pinned_pixels_repeats_the_channel():
    cells = Cells()
    channels, pixels = cells.fresh(2), np.zeros(3, dtype=np.int64)
    flat = cells.product([channels, pixels])
    assert flat.tolist() == np.repeat(channels, 3).tolist()
    again, other = cells.factor(flat, (2, 3))
    assert again.tolist() == channels.tolist()
    assert not other.any()


def test_a_product_of_free_factors_comes_apart_into_them():
    cells = Cells()
    heads, widths = cells.fresh(2), cells.fresh(3)
    flat = cells.product([heads, widths])
    assert len(np.unique(flat)) == 6
    rows, columns = cells.factor(flat, (2, 3))
    assert (rows.tolist(), columns.tolist()) == (heads.tolist(), widths.tolist())


def test_a_transposed_product_is_the_same_cells():
    cells = Cells()
    groups, places = cells.fresh(2), cells.fresh(3)
    flat = cells.product([groups, places])
    shuffled = cells.product([places, groups])
    assert shuffled.tolist() == flat.reshape(2, 3).T.ravel().tolist()


def test_equal_factors_have_equal_products_after_settling():
    cells = Cells()
    flats = [cells.fresh(6), cells.fresh(6)]
    factors = [cells.factor(flat, (2, 3)) for flat in flats]
    for left, right in zip(*factors, strict=True):
        cells.unite(left, right)
    cells.settle()
    assert np.array_equal(cells.find(flats[0]), cells.find(flats[1]))


def test_a_pinned_factor_leaves_the_other():
    cells = Cells()
    flat = cells.fresh(6)
    rows, columns = cells.factor(flat, (2, 3))
    cells.pin(rows, "two parts")
    cells.settle()
    assert np.array_equal(cells.find(flat), np.tile(cells.find(columns), 2))
    assert cells.relations == []


def test_joined_rows_go_together():
    cells = Cells()
    gates = cells.fresh(8)
    first = cells.join_rows(gates, 4)
    assert np.array_equal(cells.find(gates), np.tile(cells.find(first), 4))


def test_pins_say_why_once():
    cells = Cells()
    ids = cells.fresh(2)
    cells.pin(ids, "an output")
    cells.pin(ids, "again")
    assert [reason for _, reason in cells.reasons] == ["an output"]
    assert not cells.find(ids).any()
