import pytest

from featherweight.entropy._context_coder import Decoder, Encoder
from featherweight.entropy._context_levels import BITS, LEVELS, Geometry, Levels, _guessed
from featherweight.entropy._context_model import ONE


class Watched(Levels):
    """Keeps what was asked of each level: the neighbours and the class of the expectation."""

    def __init__(self, coder, geometry):
        super().__init__(coder, geometry)
        self.seen = []

    def _coded(self, guess, near, given):
        self.seen.append((guess, near, self._state))
        return super()._coded(guess, near, given)


def watched(rows, **geometry):
    found = Watched(Encoder(), Geometry(LEVELS, 1 << 32, columns=len(rows[0]), flat=len(rows) == 1, **geometry))
    for row in rows:
        assert found.row(row) == row
    return found.seen


def values(near):
    return near.left, near.above, near.corner, near.before, near.up, near.count


def test_neighbours_in_a_kernel():
    """Two channels of 3 x 3; each level is its own number, so that it says where it comes from."""
    rows = [list(range(100, 118)), list(range(200, 218))]
    seen = watched(rows, kernel=9, width=3, mean=150 * ONE)
    assert values(seen[0][1]) == (0, 0, 0, 0, 0, 0)
    assert values(seen[2][1]) == (101, 0, 0, 0, 0, 1)
    assert values(seen[3][1]) == (0, 100, 0, 0, 0, 1)
    assert values(seen[4][1]) == (103, 101, 100, 0, 0, 2)
    assert values(seen[9][1]) == (0, 0, 0, 100, 0, 1)
    assert values(seen[18 + 9 + 4][1]) == (212, 210, 209, 204, 113, 4)
    assert values(seen[18 + 9 + 3][1]) == (0, 209, 0, 203, 112, 3)


def test_neighbours_in_rows():
    rows = [[0, -1, 1, 0], [1, 0, -1, 1]]
    seen = watched(rows, mean=400)
    assert [values(near) for _, near, _ in seen[:4]] == [
        (0, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 1),
        (-1, 0, 0, 0, 0, 2),
        (1, 0, 0, -1, 0, 2),
    ]
    assert [values(near) for _, near, _ in seen[4:]] == [
        (0, 0, 0, 0, 0, 1),
        (1, 0, 0, 0, -1, 2),
        (0, 0, 0, 1, 1, 3),
        (-1, 0, 0, 0, 0, 3),
    ]


def test_no_neighbours_where_levels_are_large():
    seen = watched([[50] * 30] * 2, mean=50 * ONE)
    assert all(guess.units is None for guess, _, _ in seen)
    assert all(guess.units is not None for guess, _, _ in watched([[50] * 30] * 2, mean=50 * ONE, kernel=3))


def expected(rows, place, **geometry):
    return watched(rows, mean=20 * ONE, **geometry)[place][0].scale.expected / ONE


def test_expectation_follows_row_and_column():
    """Mean of the row times mean of the column over the mean of all, each with 8 magnitudes of that before."""
    assert expected([[20] * 40] * 2, 40 + 20) == pytest.approx(20, rel=0.2)
    assert expected([[80] * 40], 39) == pytest.approx((39 * 80 + 160) / 47, rel=0.2)
    assert expected([[0] * 40], 39) == pytest.approx(160 / 47, rel=0.2)
    column = [[20] * 19 + [80]] * 30
    assert expected(column, 29 * 20 + 19) == pytest.approx((29 * 80 + 160) / 37, rel=0.25)
    assert expected(column, 29 * 20 + 18) == pytest.approx(20, rel=0.25)


def test_expectation_gives_neighbours_a_quarter():
    rows = [[20] * 9, [20, 20, 20, 20, 20, 60, 60, 20, 20]]
    plain = [20, 20, 20, 20, 20, 20, 20, 20, 20]
    with_them = expected(rows, 9 + 7, kernel=9, width=3)
    without = expected([plain, plain], 9 + 7, kernel=9, width=3)
    assert 1.15 < with_them / without < 1.6


def test_states_of_the_trellis():
    rows = [[1, 0, 2, -1, 3, 0, 0, 1]]
    assert [state for _, _, state in watched(rows)] == [0] * 8
    assert [state for _, _, state in watched(rows, trellis=8)] == [0, 2, 1, 7, 6, 1, 7, 4]
    assert [state for _, _, state in watched(rows, trellis=3)] == [0, 2, 1, 0, 2, 3, 0, 0]
    assert [state for _, _, state in watched([[1, 1], [1, 1]], trellis=3)] == [0, 2, 3, 0]


def test_signs_lean_to_the_plane():
    coder = Levels(Encoder(), Geometry(LEVELS, 9, columns=9, kernel=9, width=3))
    seen = watched([[0] * 9, [7, 9, 9, 7, -8, 0, 0, 0, 0]], kernel=9, width=3, mean=8 * ONE)
    assert coder._leaning(seen[9][0], seen[9][1]) == 5
    assert coder._leaning(seen[10][0], seen[10][1]) > 5
    assert coder._leaning(seen[13][0], seen[13][1]) > 5
    assert coder._leaning(seen[14][0], seen[14][1]) < 5


def test_bits_have_no_sign_and_no_size():
    encoder = Encoder()
    bits = Levels(encoder, Geometry(BITS, 2, columns=4))
    assert bits.row([1, 0, 1, 1]) == [1, 0, 1, 1]
    decoder = Decoder(encoder.finish())
    assert Levels(decoder, Geometry(BITS, 2, columns=4)).row([0] * 4) == [1, 0, 1, 1]
    assert decoder.finished()


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("mean", [1, ONE, 1 << 30, 1 << 39])
def test_any_magnitude(kernel, mean):
    row = [0, 1, -1, 19, 20, 21, -22, 1000, 2**31 - 1, -(2**31), 0, 5]
    geometry = Geometry(LEVELS, 1 << 32, columns=12, kernel=kernel, mean=mean, flat=False)
    encoder = Encoder()
    assert Levels(encoder, geometry).row(row) == row
    decoder = Decoder(encoder.finish())
    assert Levels(decoder, geometry).row([0] * 12) == row
    assert decoder.finished()


def test_a_magnitude_that_no_alphabet_has():
    levels = Levels(Decoder(b""), Geometry(LEVELS, 1 << 32, columns=5))
    assert levels.row([0] * 5) == []
    assert levels.broken


def test_classes_of_expectation():
    assert _guessed(1).number == 0
    assert _guessed(ONE).number == 24
    assert _guessed(1 << 60).number == 79
