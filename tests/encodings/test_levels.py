import math

import numpy as np
import pytest
import torch

from featherweight.encodings._levels import FINEST, MAX_LEVEL, check_levels, divisor, from_symbols, to_symbols
from featherweight.entropy.tables import LARGEST_ALPHABET
from featherweight.errors import EncodingError


def test_small_levels_have_small_symbols():
    assert to_symbols(np.array([0, -1, 1, -2, 2], np.int32)).tolist() == [0, 1, 2, 3, 4]


def test_all_levels_there_and_back():
    small = np.arange(-3000, 3001, dtype=np.int32)
    assert np.array_equal(np.sort(to_symbols(small)), np.arange(6001))
    for levels in (small, np.array([-MAX_LEVEL, 1 - MAX_LEVEL, 0, MAX_LEVEL - 1, MAX_LEVEL], np.int32)):
        symbols = to_symbols(levels)
        assert np.array_equal(from_symbols(symbols), levels)
        assert symbols.max() < LARGEST_ALPHABET


@pytest.mark.parametrize(("largest", "kind"), [(0, np.uint8), (127, np.uint8), (128, np.uint16), (40_000, np.uint32)])
def test_symbols_are_of_the_smallest_type(largest, kind):
    assert to_symbols(np.array([largest], np.int32)).dtype == kind


def test_no_levels():
    assert to_symbols(np.zeros(0, np.int32)).shape == (0,)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.75, -0.5, 0.0], 0.25),
        ([6.0, 9.0], 3.0),
        ([1.1], 1.1),
        ([2.0**-140, 3 * 2.0**-140], 2.0**-140),
        ([2.0**100, 2.0**103], 2.0**100),
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_the_largest_step_that_keeps_all_exactly(values, step):
    assert divisor(torch.tensor(values)) == pytest.approx(step, rel=1e-7)


def test_where_there_is_none_the_finest_that_reaches_all():
    weight = torch.randn(1000)
    step = divisor(weight)
    largest = float(weight.abs().max())
    assert 0.99 * largest < step * FINEST * (1 - 2**-9) + 1e-9
    assert largest <= step * FINEST
    assert divisor(torch.tensor([1e-30, 1e30])) > 1e24


def test_what_is_no_number_has_no_divisor():
    assert divisor(torch.tensor([1.0, math.inf])) == 1.0
    assert divisor(torch.tensor([1.0, math.nan])) == 1.0


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.complex64])
def test_levels_are_integers(kind):
    with pytest.raises(EncodingError, match="levels are integers"):
        check_levels(torch.zeros(3, dtype=kind))


def test_levels_have_a_largest_size():
    for fitting in ([], [MAX_LEVEL, -MAX_LEVEL]):
        check_levels(torch.tensor(fitting, dtype=torch.int64))
    for level in (MAX_LEVEL + 1, -MAX_LEVEL - 1):
        with pytest.raises(EncodingError) as caught:
            check_levels(torch.tensor([0, level]))
        assert level in caught.value.value
