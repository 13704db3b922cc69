import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy.base import Stream
from featherweight.entropy.raw import Raw, width_of
from featherweight.errors import EncodingError, FormatError

RAW = Raw()


@given(st.integers(1, 1 << 32).flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), max_size=40))))
def test_round_trip(case):
    alphabet, numbers = case
    symbols = np.array(numbers, np.uint32)
    data = RAW.to_bits(symbols, Stream(len(symbols), alphabet))
    assert len(data) == RAW.size(symbols, Stream(len(symbols), alphabet)) == -(-len(numbers) * width_of(alphabet) // 8)
    assert RAW.from_bits(data, Stream(len(numbers), alphabet)).tolist() == numbers


@pytest.mark.parametrize(
    ("alphabet", "width"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9), (1 << 20, 20), (1 << 32, 32)]
)
def test_width(alphabet, width):
    assert width_of(alphabet) == width


def test_long_streams_unpack_in_chunks():
    symbols = np.random.default_rng(0).integers(0, 1000, 600_001, np.uint32)
    again = RAW.from_bits(RAW.to_bits(symbols, Stream(len(symbols), 1000)), Stream(len(symbols), 1000))
    assert again.dtype == np.uint16
    assert np.array_equal(again, symbols)


@pytest.mark.parametrize(
    ("data", "count", "alphabet", "code"),
    [
        (b"\x00", 9, 2, "E_COUNT"),
        (b"", 1, 2, "E_COUNT"),
        (b"", 1 << 50, 3, "E_COUNT"),
        (b"\x00", 1, 1, "E_DECODED_SIZE"),
        (b"\x00\x00", 8, 2, "E_DECODED_SIZE"),
        (b"\x00", 0, 2, "E_DECODED_SIZE"),
        (b"\x01", 7, 2, "E_PADDING"),
        (b"\x1b", 4, 3, "E_INDEX"),
    ],
)
def test_broken_bytes(data, count, alphabet, code):
    with pytest.raises(FormatError) as caught:
        RAW.from_bits(data, Stream(count, alphabet))
    assert caught.value.code == code


def test_the_offset_of_a_foreign_symbol():
    with pytest.raises(FormatError) as caught:
        RAW.from_bits(b"\x00\x00\x30", Stream(12, 3))
    assert caught.value.offset == 2


def test_foreign_symbols():
    with pytest.raises(EncodingError, match="outside the alphabet of 3"):
        RAW.to_bits(np.array([3], np.uint8), Stream(len(np.array([3], np.uint8)), 3))


@pytest.mark.skipif(native is None, reason="the native part was not built")
@pytest.mark.parametrize("width", range(1, 33))
def test_native_and_python_read_the_same(width, monkeypatch):
    alphabet = 1 << width
    for count in (1, 7, 8, 9, 1000):
        symbols = np.random.default_rng(width).integers(0, alphabet, count, np.uint64).astype(np.uint32)
        symbols[-1] = alphabet - 1
        data, stream = RAW.to_bits(symbols, Stream(count, alphabet)), Stream(count, alphabet)
        fast = RAW.from_bits(data, stream)
        with monkeypatch.context() as without:
            without.setattr("featherweight.entropy.raw.native", None)
            slow = RAW.from_bits(data, stream)
        assert fast.dtype == slow.dtype
        assert np.array_equal(fast, symbols)
        assert np.array_equal(slow, symbols)
