import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy import _huffman_native, _huffman_reference, huffman
from featherweight.entropy._bits import BitReader
from featherweight.entropy._code_table import codes, read_table
from featherweight.entropy.base import Stream, Work
from featherweight.entropy.huffman import BLOCK, Huffman
from featherweight.entropy.tables import entropy_bits, histogram
from featherweight.errors import EncodingError, FormatError

HUFFMAN = Huffman()
STREAMS = (
    st.integers(2, 300)
    .flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), min_size=2, max_size=200)))
    .filter(lambda case: len(set(case[1])) > 1)
)


@pytest.fixture(scope="module", autouse=True, params=["reference", "native"])
def way(request):
    """Every test of this file runs by the reference and by the native way: the same bytes, the same errors."""
    if request.param == "native" and native is None:
        pytest.skip("native/ is not built or is switched off")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huffman, "_WAY", _huffman_native if request.param == "native" else _huffman_reference)
        yield request.param


def geometric(count, share=0.2, alphabet=256, seed=0):
    drawn = np.random.default_rng(seed).geometric(share, count) - 1
    return np.minimum(drawn, alphabet - 1).astype(np.uint8 if alphabet <= 256 else np.uint16)


def decoded_slowly(data, count, alphabet):
    """Code by code, bit by bit: the reference for streams of one block."""
    reader = BitReader(data)
    lengths = read_table(reader, alphabet)
    words = {(int(lengths[s]), int(codes(lengths)[s])): int(s) for s in np.flatnonzero(lengths)}
    symbols = []
    while len(symbols) < count:
        length = word = 0
        while (length, word) not in words:
            length, word = length + 1, word << 1 | reader.take(1)
        symbols.append(words[length, word])
    return symbols


@given(STREAMS)
def test_round_trip(case):
    alphabet, numbers = case
    symbols = np.array(numbers, np.uint16)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), alphabet))
    assert HUFFMAN.size(symbols, Stream(len(symbols), alphabet)) == len(data)
    assert HUFFMAN.from_bits(data, Stream(len(numbers), alphabet)).tolist() == numbers
    assert decoded_slowly(data, len(numbers), alphabet) == numbers


@given(STREAMS)
def test_mean_length_is_within_a_bit_of_the_entropy(case):
    alphabet, numbers = case
    symbols = np.array(numbers, np.uint16)
    reader = BitReader(HUFFMAN.to_bits(symbols, Stream(len(symbols), alphabet)))
    lengths = read_table(reader, alphabet)
    mean = lengths[symbols].mean()
    entropy = entropy_bits(histogram(symbols, alphabet)) / len(symbols)
    assert entropy - 1e-9 <= mean < entropy + 1


@pytest.mark.parametrize("count", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 77, 26 * BLOCK, 24 * BLOCK + 1])
def test_blocks(count):
    symbols = geometric(count)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 256))
    assert HUFFMAN.size(symbols, Stream(len(symbols), 256)) == len(data)
    assert np.array_equal(HUFFMAN.from_bits(data, Stream(count, 256)), symbols)


def test_longest_codes():
    counts = [1, 1]
    while len(counts) < 19:
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(19, dtype=np.uint8), counts)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 19))
    assert int(read_table(BitReader(data), 19).max()) == 15
    assert np.array_equal(HUFFMAN.from_bits(data, Stream(len(symbols), 19)), symbols)


def test_large_alphabets():
    symbols = np.random.default_rng(0).integers(0, 1 << 20, 3000, np.uint32)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 1 << 20))
    assert np.array_equal(HUFFMAN.from_bits(data, Stream(3000, 1 << 20)), symbols)


def test_tables_are_small():
    """Bytes beyond the codes: 32 centroids with a bell of lengths, and a few symbols of 256."""
    bell = np.clip(np.random.default_rng(0).normal(16, 5, 5000), 0, 31).astype(np.uint8)
    few = np.random.default_rng(0).choice([3, 60, 61, 62, 200], 1000).astype(np.uint8)
    for symbols, alphabet, at_most in ((bell, 32, 12), (few, 256, 7)):
        reader = BitReader(HUFFMAN.to_bits(symbols, Stream(len(symbols), alphabet)))
        read_table(reader, alphabet)
        assert reader.position <= 8 * at_most


@pytest.mark.parametrize("symbols", [[], [3], [3, 3, 3]])
def test_streams_for_constant(symbols):
    with pytest.raises(EncodingError, match="2 to 32768"):
        HUFFMAN.to_bits(np.array(symbols, np.uint8), Stream(len(np.array(symbols, np.uint8)), 4))


def test_more_symbols_than_words():
    with pytest.raises(EncodingError, match="32768"):
        HUFFMAN.size(np.arange(1 << 16, dtype=np.uint32), Stream(1 << 16, 1 << 16))


def refused(data, count, alphabet=256):
    with pytest.raises(FormatError) as caught:
        HUFFMAN.from_bits(data, Stream(count, alphabet))
    return caught.value.code


def test_counts_that_lie():
    symbols = geometric(100)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 256))
    assert refused(data, 8 * len(data) + 1) == "E_COUNT"
    assert refused(data, 1 << 60) == "E_COUNT"
    assert refused(data, 1) == "E_COUNT"
    assert refused(b"", 0) == "E_COUNT"
    assert refused(data, 60) == "E_DECODED_SIZE"
    assert refused(data, 140) == "E_DECODED_SIZE"


def test_what_follows_the_codes():
    symbols = np.array([0, 1, 2, 0, 0], np.uint8)  # 7 + 3 bits of table, 7 bits of codes
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 3))
    assert len(data) == 3
    assert refused(data + b"\0", 5, 3) == "E_DECODED_SIZE"
    assert refused(data[:2] + bytes([data[2] | 1]), 5, 3) == "E_PADDING"


def bits(text):
    text = text.replace(" ", "")
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


@pytest.mark.parametrize(
    "text",
    [
        "00 0 0001 01 1  10 11 10",  # 1, 2, 2: symbol 0 never occurs, so it had no code
        "00 0 0010 1 1 1  00 01 10 11 00 00 00 00 00",  # 2, 2, 2, 2 although 0 is frequent enough for 1 bit
        "00 1 0001 1 011 01 1  0 10 11 0",  # turns although all symbols have codes
        "01 0 0001 1 1 10  0 10 11 0",  # k = 1 where k = 0 is shorter
    ],
)
def test_tables_that_no_writer_gives(text):
    count = len(text.split("  ")[1].split())
    assert refused(bits(text), count, 4) == "E_HUFFMAN"


def test_the_right_table_for_comparison():
    assert HUFFMAN.from_bits(bits("00 0 0001 01 1  0 10 11 0"), Stream(4, 4)).tolist() == [0, 1, 2, 0]


def test_an_index_that_lies():
    symbols = geometric(2 * BLOCK + 5)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 256))
    reader = BitReader(data)
    read_table(reader, 256)
    place = reader.position
    number = int.from_bytes(data, "big")
    total = 8 * len(data)
    codes_seen = set()
    for bit in range(23 + 2):  # base, width and the first bits of the extras
        changed = (number ^ 1 << total - 1 - place - bit).to_bytes(len(data), "big")
        codes_seen.add(refused(changed, len(symbols)))
    assert codes_seen <= {"E_SPAN", "E_HUFFMAN", "E_COUNT", "E_DECODED_SIZE"}
    assert "E_SPAN" in codes_seen


def test_lanes_that_run_past_the_end():
    """Cut and changed long streams: the lock step must neither read outside nor give symbols."""
    symbols = geometric(30 * BLOCK)
    data = HUFFMAN.to_bits(symbols, Stream(len(symbols), 256))
    assert refused(data[:-1], len(symbols)) in {"E_DECODED_SIZE", "E_SPAN"}
    assert refused(data[: len(data) // 2], len(symbols)) == "E_SPAN"
    head, rest = data[:200], bytearray(data[200:])
    rest[len(rest) // 2 :] = b"\xff" * (len(rest) - len(rest) // 2)
    assert refused(head + bytes(rest), len(symbols)) in {"E_SPAN", "E_DECODED_SIZE"}


class Patience:
    """Counts how often a decoder asks whether it may go on, and says no after `calls`."""

    def __init__(self, calls=None):
        self.calls, self.asked = calls, 0

    def __call__(self):
        self.asked += 1
        if self.asked == self.calls:
            raise TimeoutError(self.asked)


@pytest.mark.parametrize(("blocks", "often"), [(3, 3 + 2 + 2), (300, 128 + 300)])
def test_gives_up_wherever_it_is(blocks, often):
    """In the index, in a block, in lock step, in the check of the head: every look at the deadline may end it."""
    symbols = geometric(blocks * BLOCK)
    stream = Stream(len(symbols), 256)
    data = HUFFMAN.to_bits(symbols, stream)
    patient = Patience()
    assert np.array_equal(HUFFMAN.from_bits(data, stream, Work(1, patient)), symbols)
    assert patient.asked >= often
    for calls in sorted({1, patient.asked // 3, patient.asked // 2, patient.asked - 1, patient.asked}):
        with pytest.raises(TimeoutError):
            HUFFMAN.from_bits(data, stream, Work(1, Patience(calls)))
