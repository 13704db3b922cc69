import numpy as np
import pytest

from featherweight.entropy import _huffman_reference as reference
from featherweight.entropy._bits import BitWriter
from featherweight.entropy._code_table import BLOCK, MAX_LENGTH
from featherweight.entropy.base import ALONE
from featherweight.entropy.tables import code_lengths, histogram


def coded(count, alphabet=1000):
    """Symbols, code lengths, where the blocks begin, and the codes without table and index."""
    drawn = np.random.default_rng(count).geometric(0.01, count) - 1
    symbols = np.minimum(drawn, alphabet - 1).astype(np.uint16)
    lengths = code_lengths(histogram(symbols, alphabet), MAX_LENGTH)
    sizes = reference.block_sizes(symbols, lengths)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return symbols, lengths, starts, reference.encode(BitWriter(), symbols, lengths, int(sizes.sum()))


def test_in_lock_step_and_in_sequence(monkeypatch):
    symbols, lengths, starts, data = coded(5 * BLOCK + 9)
    in_sequence = reference.decode(data, starts[:-1], len(symbols), lengths, ALONE)
    monkeypatch.setattr(reference, "_FEW_LANES", 1)
    monkeypatch.setattr(reference, "_LANES", 2)
    in_lock_step = reference.decode(data, starts[:-1], len(symbols), lengths, ALONE)
    for found, ends in (in_sequence, in_lock_step):
        assert np.array_equal(found, symbols)
        assert np.array_equal(ends, starts[1:])


@pytest.mark.parametrize("few", [1, 24])
def test_blocks_that_need_bits_behind_the_end(monkeypatch, few):
    symbols, lengths, starts, data = coded(3 * BLOCK)
    monkeypatch.setattr(reference, "_FEW_LANES", few)
    cut = data[: int(starts[2]) // 8 - 5]
    _, ends = reference.decode(cut, np.minimum(starts[:-1], 8 * len(cut)), len(symbols), lengths, ALONE)
    assert ends.tolist() == [int(starts[1]), 8 * len(cut) + 1, 8 * len(cut) + 1]
