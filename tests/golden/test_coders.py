"""The exact bytes of every coder: written once, readable for ever. A change here is a change of the file format."""

import hashlib

import numpy as np
import pytest

from featherweight.entropy.base import Stream
from featherweight.entropy.constant import Constant
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.rans import Rans
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
    # see tests/entropy/test_rans_reference.py for this one, line by line
    "rans, two symbols": (Rans, [0, 0, 0, 1], 2, "00007300c4200a00"),
    "rans, letters": (Rans, list(b"abracadabra"), 256, "14034068380000010008a41184811482"),
    "rans, scattered": (Rans, [250, 3, 250, 250, 3, 1000], 1001, "2002c182c0abc3406629cc01f5ebd7a0"),
    "rans, squares": (
        Rans,
        [i * i % 17 for i in range(60)],
        17,
        "500426d002c432cb31a70c13ea804727108fb92c07e6123a2c2b517f976139a3b2c478e142de",
    ),
    "rans, one class": (
        Rans,
        [1024 + i * i % 200 for i in range(9)],
        1 << 20,
        "28090012038000000100000104091019243140",
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


def test_exact_bytes_of_lanes():
    """40,000 levels, four lanes, and classes with bits of their own; 300,000 symbols, 32 and 4 lanes and an index."""
    places = np.arange(300_000, dtype=np.int64)
    high, low = places * 2654435761 % 2**32, (places * 40503 % 2**16) >> 12
    levels = ((high >> 22) * low >> 4)[:40_000].astype(np.uint16)
    for symbols, alphabet, length, head, digest in (
        (
            levels,
            1024,
            46112,
            "7962dc000904339ce3311111112492cd0b4932baab5356ba",
            "8a5117695a610b85d019f9e512c903f3a48e29f506e9924a8727d3208f0d57f2",
        ),
        (
            np.minimum(high >> 28, low).astype(np.uint8),
            16,
            140699,
            "42c3d3c642108e431de4102078345ada01da71f278114dc5",
            "55130efa7f5da9e81fc82d3d6eac222482b63b3504239137122cec41853a8328",
        ),
    ):
        stream = Stream(len(symbols), alphabet)
        data = Rans().to_bits(symbols, stream)
        assert len(data) == length
        assert data[:24].hex() == head
        assert hashlib.sha256(data).hexdigest() == digest
        assert np.array_equal(Rans().from_bits(data, stream), symbols)
