import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy._context_model import (
    LARGE,
    LOGS,
    NEAR,
    NEXT_STATE,
    ONE,
    SCALES,
    SHARES,
    SIGNS,
    STEPS,
    TABLE,
    Model,
    log_of,
    number_of,
)
from featherweight.numerics import trellis


@given(st.integers(1, (1 << 64) - 1))
def test_logarithms(number):
    log = log_of(number)
    assert number_of(log) <= number
    assert number < number_of(log + 1) or number < 16
    assert abs(log / 16 - math.log2(number)) < 0.15  # a sixteenth, and the error of a straight line


def test_logarithms_of_small_numbers():
    assert [log_of(number) for number in (1, 2, 3, 4, 5, 15, 16, 17, 31, 32)] == [
        0,
        16,
        24,
        32,
        36,
        62,
        64,
        65,
        79,
        80,
    ]
    assert all(log_of(number_of(log)) == log for log in range(64, 1000))
    assert [number_of(log) for log in (0, 15, 16, 24, 63)] == [1, 1, 2, 3, 15]


def test_classes_of_magnitude():
    assert len(TABLE) == SCALES
    assert LOGS == 8 * SCALES
    assert number_of(LARGE) == ONE // 2
    for number, scale in enumerate(TABLE):
        assert log_of(scale.expected) >> 3 == number or number < 8
        assert scale.expected >> scale.shift <= ONE * 5 // 2
        assert scale.shift == 0 or scale.expected >> scale.shift - 1 > ONE * 5 // 2
        exact = scale.expected / (scale.expected + ONE)  # geometric: the chance of not 0, and of one more
        assert abs(scale.some / 65536 - min(max(exact, 24 / 65536), 65512 / 65536)) < 1e-4
        assert abs(scale.more / 65536 - max(exact**2**scale.shift, 1 / 8)) < 0.001 * 2**scale.shift
    assert max(scale.shift for scale in TABLE[:60]) < 20


def test_shares():
    assert [SHARES[count] for count in (1, 2, 3, 4)] == [4096 // count for count in (1, 2, 3, 4)]


def test_the_trellis_is_that_of_the_quantizer():
    assert NEXT_STATE == trellis.NEXT


@pytest.mark.parametrize(
    ("table", "size"),
    [
        ("some", SCALES * 2),
        ("some_near", 9 * 64 * 2),
        ("more", SCALES * 2 * STEPS),
        ("more_near", SIGNS * NEAR * 2 * STEPS),
        ("low", SCALES * 4 * 4),
        ("sign", SIGNS),
        ("escape", 32),
    ],
)
def test_room(table, size):
    assert len(getattr(Model(), table)) == size


def test_first_chances():
    model = Model()
    assert model.some[2 * 40 + 1] == TABLE[40].some << 16 | 3
    assert model.more[(2 * 40 + 1) * STEPS + 7] == TABLE[40].more << 16 | 3
    assert set(model.sign) == {1 << 31 | 3}
    assert set(model.low) == set(model.escape) == {1 << 31}
    assert not any(model.some_near)
    assert not any(model.more_near)
    assert Model().some is not model.some
