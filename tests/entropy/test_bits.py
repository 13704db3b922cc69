import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy._bits import BitReader, BitWriter, check_end
from featherweight.errors import FormatError

NUMBER = st.integers(0, 24).flatmap(lambda width: st.tuples(st.integers(0, (1 << width) - 1), st.just(width)))
NUMBERS = st.lists(NUMBER)


def expected(numbers):
    """The slow, obvious way."""
    text = "".join(f"{value:0{width}b}" for value, width in numbers if width)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


@given(NUMBERS)
def test_numbers_lie_one_after_the_other_highest_bit_first(numbers):
    one, many = BitWriter(), BitWriter()
    for value, width in numbers:
        one.put(value, width)
    many.put_all(np.array([v for v, _ in numbers], np.uint32), np.array([w for _, w in numbers], np.uint8))
    assert one.position == many.position == sum(width for _, width in numbers)
    assert one.finish() == many.finish() == expected(numbers)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_single_numbers_and_arrays_mix(first, second, third):
    writer = BitWriter()
    for value, width in first:
        writer.put(value, width)
    writer.put_all(np.array([v for v, _ in second], np.uint32), np.array([w for _, w in second], np.uint8))
    for value, width in third:
        writer.put(value, width)
    assert writer.finish() == expected([*first, *second, *third])


@given(NUMBERS)
def test_reads_back(numbers):
    reader = BitReader(expected(numbers))
    assert [(reader.take(width), width) for _, width in numbers] == numbers


def test_long_arrays_are_packed_in_chunks():
    count = (1 << 20) + 5
    writer = BitWriter()
    writer.put(1, 3)
    writer.put_all(np.arange(count, dtype=np.uint32) & 0x1FFF, np.full(count, 13, np.uint8))
    reader = BitReader(writer.finish())
    assert reader.take(3) == 1
    reader.position += 13 * (count - 9)
    assert [reader.take(13) for _ in range(9)] == [(count - 9 + i) & 0x1FFF for i in range(9)]


def test_reading_behind_the_end():
    reader = BitReader(b"\xff")
    reader.take(5)
    with pytest.raises(FormatError, match="E_COUNT"):
        reader.take(4)


def test_runs_of_zeros():
    reader = BitReader(b"\x13\x00\x00")
    assert [reader.zeros(9), reader.zeros(9), reader.zeros(9)] == [3, 2, 0]
    with pytest.raises(FormatError, match="E_HUFFMAN"):
        reader.zeros(9)


def test_the_end():
    check_end(b"\xe0", 3)
    check_end(b"", 0)
    with pytest.raises(FormatError, match="E_PADDING"):
        check_end(b"\xe1", 3)
    for data in (b"", b"\xe0\x00"):
        with pytest.raises(FormatError, match="E_DECODED_SIZE"):
            check_end(data, 3)
