import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy import _rans_model as models
from featherweight.entropy._bits import BitReader, BitWriter
from featherweight.entropy._rans_model import Model
from featherweight.errors import FormatError

COUNTS = st.lists(st.tuples(st.integers(0, models.BINS - 1), st.integers(1, 1 << 40)), min_size=1, max_size=80).map(
    lambda pairs: np.bincount([b for b, _ in pairs], [float(c) for _, c in pairs], models.BINS).astype(np.int64)
)


def table(model):
    writer = BitWriter()
    models.write(model, writer)
    return writer.position, writer.finish()


@given(COUNTS)
def test_a_model_survives_its_table(counts):
    model = models.choose(counts)
    size, written = table(model)
    reader = BitReader(written)
    assert models.read(reader, 1 << 20) == model
    assert reader.position == size


@given(COUNTS)
def test_frequencies_sum_to_4096_and_none_that_is_used_is_zero(counts):
    model = models.choose(counts)
    frequencies = models.frequencies(model)
    assert sum(frequencies) == models.TOTAL
    assert [frequency > 0 for frequency in frequencies] == [grade > 0 for grade in model.grades]
    assert len(frequencies) <= 256
    assert model.grades[-1] > 0


def test_every_symbol_lies_in_its_class_and_bin():
    symbols = np.unique(np.concatenate([np.arange(5000), (1 << np.arange(20)), (1 << np.arange(1, 21)) - 1]))
    for split in range(9):
        for sub in range(min(split, 2) + 1):
            numbers = models.classes(symbols.astype(np.uint32), split, sub)
            for symbol, number in zip(symbols.tolist(), numbers.tolist(), strict=True):
                low, own = models.lowest(number, split, sub)
                assert low <= symbol < low + (1 << own)
    found = models.bins(symbols.astype(np.uint32))
    assert found.max() == models.BINS - 1
    assert found[:256].tolist() == list(range(256))
    assert (np.diff(found.astype(int)) >= 0).all()


def test_logarithms_are_exact_to_the_last_place():
    for number in range(1, models.TOTAL + 1):
        exact = math.log2(number) * (1 << 16)
        assert exact - 1 - 1e-6 < models._LOGARITHMS[number] <= exact + 1e-6


@pytest.mark.parametrize("digits", range(8))
def test_grades_number_the_weights(digits):
    largest = models._largest(digits)
    weights = [models._weight(grade, digits) for grade in range(1, largest + 1)]
    assert weights[0] == 1
    assert weights == sorted(set(weights))
    assert weights[-1] < models.TOTAL
    assert [models._grade(weight, models.TOTAL, digits) for weight in weights] == list(range(1, largest + 1))


def test_a_bell_of_levels_takes_about_twenty_bytes():
    counts = np.zeros(models.BINS, np.int64)
    counts[:46] = 1 + 2000 * np.exp(-((np.arange(46) + 1) // 2) / 4.0)
    assert table(models.choose(counts))[0] <= 8 * 20


def bits(text):
    text = text.replace(" ", "")
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1001 00 000 0 00000001 1100", "E_ANS"),  # split 9
        ("0100 11 000 0 00000001 1100", "E_ANS"),  # sub 3
        ("0001 10 000 0 00000001 1100", "E_ANS"),  # sub above split
        ("0000 00 000 0 11111111 1100", "E_INDEX"),  # 256 classes where there are 21
        ("1000 00 000 0 00000010 1100", "E_INDEX"),  # class 2 of an alphabet of 2
        ("0000 00 000 0 00000001 1111", "E_ANS"),  # grade 15 of 12
        ("0000 00 000 0 00000001 1100 00", "E_COUNT"),  # ends within a grade
        ("0000 00 000 0 00000001 0000 1 100 1 0000", "E_ANS"),  # one class without symbols, and then the last one too
        ("0000 00 000 0 00000001 0000 010", "E_ANS"),  # two classes without symbols, and no other
        ("0000 00 000 0 00000001 0001 0000000000000000000000000000000", "E_ANS"),  # an endless number
        ("0000 00 000 0 00000001 1100 0001 11 0000", "E_ANS"),  # a grade beyond the largest
        ("0000 00 000 0 00000001 0000 00000000000000000 ", "E_ANS"),  # an endless run
    ],
)
def test_broken_tables(text, code):
    with pytest.raises(FormatError) as caught:
        models.read(BitReader(bits(text)), 2)
    assert caught.value.code == code


def test_weights_of_which_none_is_above_1():
    with pytest.raises(FormatError) as caught:
        models.frequencies(Model(0, 0, 0, True, (1, 1)))
    assert caught.value.code == "E_ANS"
