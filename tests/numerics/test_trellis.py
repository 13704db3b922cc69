import numpy as np
import pytest

from featherweight.numerics.trellis import NEXT, multiples, odd_states


def one_by_one(levels):
    """The definition of the standard, level by level."""
    found = np.zeros_like(levels)
    for row, out in zip(levels, found, strict=True):
        state = 0
        for place, level in enumerate(int(item) for item in row):
            out[place] = 2 * level - np.sign(level) * (state & 1)
            state = NEXT[state][level & 1]
    return found


@pytest.mark.parametrize("columns", [0, 1, 2, 3, 4, 5, 7, 8, 9, 1001])
def test_all_at_once_is_one_by_one(columns):
    levels = np.random.default_rng(columns).integers(-6, 7, (5, columns)).astype(np.int32)
    assert np.array_equal(multiples(levels), one_by_one(levels))
    assert multiples(levels).dtype == np.int32


def test_large_levels():
    levels = np.array([[2**29, -(2**29) + 1, 2**20, -(2**20)]], np.int32)
    assert np.array_equal(multiples(levels), one_by_one(levels))


def test_no_rows():
    assert multiples(np.zeros((0, 3), np.int32)).shape == (0, 3)


def test_even_states_have_even_multiples_and_odd_ones_odd_or_zero():
    levels = np.random.default_rng(1).integers(-3, 4, (20, 300)).astype(np.int32)
    odd, found = odd_states(levels).astype(bool), multiples(levels)
    assert 0.3 < odd.mean() < 0.7
    assert not (found[~odd] & 1).any()
    assert ((found[odd] & 1 == 1) | (levels[odd] == 0)).all()
    assert np.array_equal(found == 0, levels == 0)


def test_every_state_has_two_followers_and_two_before_it():
    assert sorted(after for pair in NEXT for after in pair) == sorted(2 * list(range(8)))
    assert all(one != other for one, other in NEXT)
