import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy import tables
from featherweight.entropy.base import Stream
from featherweight.errors import EncodingError, FormatError

COUNTS = st.lists(st.integers(0, 2000), min_size=2, max_size=60).filter(lambda counts: sum(map(bool, counts)) > 1)


def huffman_bits(counts):
    """Total bits of an optimal code without limit: the sum of all inner nodes, by Huffman's own algorithm."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        node = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, node)
        total += node
    return total


def best_bits(counts, limit):
    """Total bits of the best full code with lengths up to `limit`, by trying all: few symbols only."""
    counts = sorted(count for count in counts if count)

    def search(index, room, longest):
        # lengths fall from the rarest to the most frequent symbol; room in units of 2^-limit
        if index == len(counts):
            return 0 if room == 0 else float("inf")
        if room <= 0:
            return float("inf")
        tries = (counts[index] * n + search(index + 1, room - (1 << limit - n), n) for n in range(1, longest + 1))
        return min(tries)

    return search(0, 1 << limit, limit)


@given(COUNTS)
def test_lengths_are_optimal_and_full(counts):
    lengths = tables.code_lengths(np.array(counts), 15)
    assert sum(count * int(length) for count, length in zip(counts, lengths, strict=True)) == huffman_bits(counts)
    assert sum(2.0 ** -int(length) for length in lengths if length) == 1
    assert [length == 0 for length in lengths] == [count == 0 for count in counts]


@given(st.lists(st.integers(1, 500), min_size=2, max_size=7), st.integers(3, 5))
def test_lengths_are_optimal_below_a_limit(counts, limit):
    lengths = tables.code_lengths(np.array(counts), limit)
    assert lengths.max() <= limit
    bits = sum(count * int(length) for count, length in zip(counts, lengths, strict=True))
    assert bits == best_bits(counts, limit)


def test_fibonacci_counts_meet_the_limit():
    counts = [1, 1]
    while len(counts) < 30:
        counts.append(counts[-1] + counts[-2])
    lengths = tables.code_lengths(np.array(counts), 15)
    assert lengths.max() == 15
    assert sum(2.0 ** -int(length) for length in lengths) == 1


def test_equal_counts_are_told_apart_by_symbol():
    assert tables.code_lengths(np.array([5, 5, 5]), 15).tolist() == [2, 2, 1]
    assert tables.code_lengths(np.array([0, 1, 0, 1, 2]), 15).tolist() == [0, 2, 0, 2, 1]


@pytest.mark.parametrize("counts", [[0, 0], [0, 4]])
def test_a_code_has_two_symbols(counts):
    with pytest.raises(EncodingError, match="2 to 32768"):
        tables.code_lengths(np.array(counts), 15)


def test_a_code_has_at_most_all_words_of_its_limit():
    lengths = tables.code_lengths(np.arange(1, (1 << 15) + 1), 15)
    assert set(lengths.tolist()) == {15}
    with pytest.raises(EncodingError):
        tables.code_lengths(np.ones((1 << 15) + 1, np.int64), 15)


def test_histogram_counts_across_chunks():
    symbols = np.tile(np.array([0, 1, 1, 3], np.uint8), (1 << 18) + 1)
    counts = tables.histogram(symbols, 5)
    assert counts.tolist() == [(1 << 18) + 1, (1 << 19) + 2, 0, (1 << 18) + 1, 0]


def test_entropy():
    assert tables.entropy_bits(np.array([4, 4, 0, 8])) == 2 * 4 + 2 * 4 + 1 * 8
    assert tables.entropy_bits(np.array([7, 0])) == 0
    assert tables.entropy_bits(np.zeros(3, np.int64)) == 0


@pytest.mark.parametrize(("alphabet", "kind"), [(1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_the_smallest_type(alphabet, kind):
    assert tables.symbol_type(alphabet) == np.dtype(kind)


def test_requests_that_no_stream_meets():
    for count, alphabet in ((-1, 2), (1, 0), (1, (1 << 20) + 1)):
        with pytest.raises(FormatError, match="E_COUNT"):
            tables.check_request(Stream(count, alphabet))
    tables.check_request(Stream(0, 1 << 20))
    tables.check_request(Stream(0, 1 << 32), tables.LARGEST_ALPHABET)


def test_streams_that_cannot_be_coded():
    good = np.array([0, 1], np.uint8)
    tables.check_stream(good, Stream(2, 2))
    for symbols, alphabet in (
        (good, 1),
        (good, 0),
        (good[None], 2),
        (good[:1], 2),
        (good.astype(int), 2),
        (good, (1 << 20) + 1),
    ):
        with pytest.raises(EncodingError):
            tables.check_stream(symbols, Stream(2, alphabet))


@pytest.mark.parametrize(("dtype", "alphabet"), [(np.uint8, 2), (np.uint8, 256), (np.uint8, 300), (np.uint16, 5000)])
@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_histograms_by_both_ways(monkeypatch, dtype, alphabet, count):
    symbols = np.random.default_rng(0).integers(0, min(alphabet, 256), count).astype(dtype)
    found = tables.histogram(symbols, alphabet)
    monkeypatch.setattr(tables, "native", None)
    assert found.tolist() == tables.histogram(symbols, alphabet).tolist()
    assert found.shape == (alphabet,)
    assert int(found.sum()) == count
