"""The exact bytes of every coder: written once, readable for ever. A change here is a change of the file format."""

import hashlib

import numpy as np
import pytest

from featherweight.entropy.base import Stream
from featherweight.entropy.constant import Constant
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.raw import Raw

STREAMS = {
    "constant": (Constant, [9] * 5, 10, "09"),
    "constant, two bytes": (Constant, [258, 258], 300, "0201"),
    "raw, 2 bits": (Raw, [0, 1, 2, 1, 0], 3, "1900"),
    "raw, 8 bits": (Raw, [7, 200, 255], 256, "07c8ff"),
    "raw, 9 bits": (Raw, [0, 511, 256, 1], 512, "007fe00010"),
    # 00 0 0001 | 01 01 1 | 0 0 0 0 10 10 110 111: lengths 1, 2, 3, 3, checked by hand
    "huffman, all symbols": (Huffman, [0, 0, 0, 0, 1, 1, 2, 3], 4, "02b0adc0"),
    "huffman, letters": (Huffman, list(b"abracadabra"), 256, "2206220e374eac9c"),
    "huffman, scattered": (Huffman, [250, 3, 250, 250, 3, 1000], 1001, "24480f69005db516"),
    "huffman, squares": (
        Huffman,
        [i * i % 17 for i in range(60)],
        17,
        "2973dadf5f79790b250b33fde5e42c942ccff79790b250b33fde5e42c0",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_exact_bytes(name):
    coder, numbers, alphabet, written = STREAMS[name]
    symbols = np.array(numbers, np.uint16)
    assert coder().to_bits(symbols, Stream(len(symbols), alphabet)).hex() == written
    assert coder().from_bits(bytes.fromhex(written), Stream(len(numbers), alphabet)).tolist() == numbers


def test_exact_bytes_of_blocks():
    """40,000 symbols: three blocks and an index. The head is given, the rest as its digest."""
    places = np.arange(40_000, dtype=np.int64)
    symbols = np.minimum((places * 2654435761 % 2**32) >> 28, (places * 40503 % 2**16) >> 12).astype(np.uint8)
    data = Huffman().to_bits(symbols, Stream(len(symbols), 16))
    assert len(data) == 19331
    assert data[:24].hex() == "077ff59e290cf4e00016be93affd2740c6fa8ebff6be938d"
    assert hashlib.sha256(data).hexdigest() == "e632e4b372edd16f59c7623d8243f4bcfb3be5eade9af4a399f3de9e2a674a26"
    assert np.array_equal(Huffman().from_bits(data, Stream(len(symbols), 16)), symbols)
