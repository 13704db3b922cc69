import numpy as np
import pytest

from featherweight.entropy.base import Stream
from featherweight.entropy.constant import Constant
from featherweight.errors import EncodingError, FormatError

CONSTANT = Constant()


@pytest.mark.parametrize(
    ("symbol", "count", "alphabet", "data"),
    [
        (0, 0, 7, b""),
        (0, 5, 1, b""),
        (3, 1, 4, b"\x03"),
        (255, 9, 256, b"\xff"),
        (1, 9, 257, b"\x01\x00"),
        (0x12345, 2, 1 << 20, b"\x45\x23\x01"),
    ],
)
def test_exact_bytes(symbol, count, alphabet, data):
    symbols = np.full(count, symbol, np.uint32)
    assert CONSTANT.to_bits(symbols, Stream(len(symbols), alphabet)) == data
    assert CONSTANT.size(symbols, Stream(len(symbols), alphabet)) == len(data)
    assert CONSTANT.from_bits(data, Stream(count, alphabet)).tolist() == [symbol] * count


def test_different_symbols_are_for_other_coders():
    symbols = np.array([1, 1, 2], np.uint8)
    with pytest.raises(EncodingError, match="not all equal"):
        CONSTANT.size(symbols, Stream(len(symbols), 3))
    with pytest.raises(EncodingError, match="not all equal"):
        CONSTANT.to_bits(symbols, Stream(len(symbols), 3))


@pytest.mark.parametrize(
    ("data", "count", "alphabet", "code"),
    [
        (b"\x04", 2, 4, "E_INDEX"),
        (b"", 2, 4, "E_DECODED_SIZE"),
        (b"\x00", 2, 1, "E_DECODED_SIZE"),
        (b"\x00", 0, 4, "E_DECODED_SIZE"),
        (b"\x00\x00", 2, 256, "E_DECODED_SIZE"),
        (b"\x00", -1, 256, "E_COUNT"),
        (b"\x00", 1, 0, "E_COUNT"),
    ],
)
def test_broken_bytes(data, count, alphabet, code):
    with pytest.raises(FormatError) as caught:
        CONSTANT.from_bits(data, Stream(count, alphabet))
    assert caught.value.code == code
