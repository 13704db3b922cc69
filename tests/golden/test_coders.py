"""The exact bytes of every coder: written once, readable for ever. A change here is a change of the file format."""

import hashlib

import numpy as np
import pytest

from featherweight.core.native import native
from featherweight.entropy.base import Stream
from featherweight.entropy.constant import Constant
from featherweight.entropy.context_range import ContextRange
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


def zigzag(levels):
    return [-2 * level - 1 if level < 0 else 2 * level for level in levels]


CONTEXT = {
    # a tree of eight even bits, a 1 being the lower part: the byte that is left is the symbol upside down
    "one letter": ([0b10010110], Stream(1, 256), "69"),
    "zeros": ([0] * 50, Stream(50, 9, (5, 10), signed=True), "0005"),
    "levels": (
        zigzag(i * i % 11 - 5 for i in range(24)),
        Stream(24, 11, (4, 6), signed=True),
        "35703c4526876989e2b1f650",
    ),
    "kernels": (
        zigzag(i * i % 23 - 11 for i in range(54)),
        Stream(54, 24, (3, 2, 3, 3), signed=True),
        "390ef5a76e9cc863aee2b627b7e601a1745dd3bdc60438d23438d72291462e42d4fcdc",
    ),
    "dependent": (
        zigzag(i * i % 7 - 3 for i in range(40)),
        Stream(40, 8, (4, 10), signed=True, trellis=10),
        "326d32916bb57c9fd272bf9edb7e68",
    ),
    "large": (
        zigzag([0, -1, 30, -800, 10**6, -(2**31), 2**31 - 1, 0]),
        Stream(8, 1 << 32, (8,), signed=True),
        "9fffef49fdc0a0950d5d15483fcb807194850a26f10000005e25dffefca51999840141422f8d",
    ),
    "bits": ([i * i % 13 == 4 for i in range(60)], Stream(60, 2, (6, 10)), "243fc53682d0"),
    "letters": (list(b"abracadabra"), Stream(11, 256), "9e8c5fdef677b4"),
    "wide": ([0, 1, 70000, 300, 2**32 - 1, 5], Stream(6, 1 << 32), "ff8783264612343b1d9e2b75"),
}


@pytest.mark.parametrize("name", CONTEXT)
def test_exact_bytes_of_contexts(name):
    numbers, stream, written = CONTEXT[name]
    symbols = np.array(numbers, np.uint32)
    assert ContextRange().to_bits(symbols, stream).hex() == written
    assert np.array_equal(ContextRange().from_bits(bytes.fromhex(written), stream), symbols)


LONG_CONTEXT = {
    "rows, one block": (
        Stream(9000, 64, (10, 900), signed=True),
        5201,
        "3ae460d801751e28b1872d044dee8edc",
        "c8515c18c760040f10e1a7a7e2c82d0b70ec671ad4a419bb199b01e14c80689c",
    ),
    "kernels, dependent, one block": (
        Stream(9000, 64, (10, 36, 5, 5), signed=True, trellis=900),
        3652,
        "3af1a606ac0f95c4dd734f515a00bec6",
        "d02082785f35a6361fedbd6cb11211c3138654572df45ad68964afdd268deb84",
    ),
    "bits, one block": (
        Stream(9000, 2, (10, 900)),
        669,
        "2876e9b6f279330c789924d971e4360b",
        "0ef6bf99ea9ce1a43b745ad2068c24a4a74a6e1030682483139afd6e45ce0083",
    ),
    "classes, one block": (
        Stream(9000, 64),
        3576,
        "fe56b68ac7ba819b0572f5acbe55ca58",
        "40e0042d0f3dd9beb97e9c2f79adf9e7cf8dd75a2d2f21e8f3a09855ed16c3a3",
    ),
    "rows, blocks": (
        Stream(585_000, 64, (650, 900), signed=True),
        325219,
        "38f4d711d8e167aa18d1c6732b8ad740",
        "9a6d5b098708d143225bb17204d4b73fe0cbaf85b46306c6c4771fbd6685dadb",
    ),
    "kernels, dependent, blocks": (
        Stream(585_000, 64, (650, 36, 5, 5), signed=True, trellis=900),
        258942,
        "3880990ee6729feaa5f82d89cb48ed23",
        "e178e7b015272b2483473cc07342a553ca5f976cd429a89ced24309bd515e52a",
    ),
    "bits, blocks": (
        Stream(585_000, 2, (650, 900)),
        31283,
        "24f0d101484d86e99ec9a273b6194ee2",
        "206d523b7542cff115dda8e59b558034a49a220c33c15577bba66c0db8d96306",
    ),
    "classes, blocks": (
        Stream(585_000, 64),
        257177,
        "cf8e0efe56b68ac7ba819b0572f5acbe",
        "ce639c7a673b9d6b4791f23f6880bea37630c399e5a4623b35c0e9dae16be773",
    ),
}


@pytest.mark.parametrize("name", LONG_CONTEXT)
def test_exact_bytes_of_long_contexts(name):
    """9,000 symbols in one block, 585,000 in two: the head is given, the rest as its digest."""
    stream, length, head, digest = LONG_CONTEXT[name]
    if stream.count > 10_000 and native is None:
        pytest.skip("takes a minute without native/")
    places = np.arange(stream.count, dtype=np.int64)
    high, low = places * 2654435761 % 2**32, (places * 40503 % 2**16) >> 12
    levels = ((high >> 24) * low >> 7) - (low >> 1)
    symbols = np.where(levels < 0, -2 * levels - 1, 2 * levels).astype(np.uint8)
    if stream.alphabet == 2:
        symbols = (symbols > 20).astype(np.uint8)
    data = ContextRange().to_bits(symbols, stream)
    assert len(data) == length
    assert data[:16].hex() == head
    assert hashlib.sha256(data).hexdigest() == digest
    assert np.array_equal(ContextRange().from_bits(data, stream), symbols)
