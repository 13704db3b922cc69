from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy import _code_table as tables
from featherweight.entropy._bits import BitReader, BitWriter
from featherweight.entropy.tables import code_lengths
from featherweight.errors import FormatError

LENGTHS = (
    st.lists(st.one_of(st.just(0), st.integers(0, 3000)), min_size=2, max_size=80)
    .filter(lambda counts: sum(map(bool, counts)) > 1)
    .map(lambda counts: code_lengths(np.array(counts), 15))
)


def written(lengths):
    writer = BitWriter()
    tables.write_table(writer, np.array(lengths, np.uint8))
    return writer


@given(LENGTHS)
def test_reads_what_it_wrote(lengths):
    writer = written(lengths)
    end = writer.position
    reader = BitReader(writer.finish())
    assert tables.read_table(reader, len(lengths)).tolist() == lengths.tolist()
    assert reader.position == end


@given(LENGTHS)
def test_codes_are_free_of_prefixes_and_in_order(lengths):
    codes = tables.codes(lengths)
    words = sorted((int(lengths[s]), int(s), f"{codes[s]:0{lengths[s]}b}") for s in np.flatnonzero(lengths))
    texts = [text for _, _, text in words]
    assert all(len(text) == length for length, _, text in words)
    assert texts == sorted(texts)
    assert not any(later.startswith(text) for text, later in pairwise(texts))
    assert [symbol for _, symbol, _ in words] == tables.in_order(lengths).tolist()


@pytest.mark.parametrize(
    ("lengths", "bits"),
    [
        ([1, 1], "00 0 0001 1"),
        ([1, 2, 2], "00 0 0001 01 1"),  # +1, 0
        ([2, 2, 1, 0, 0], "00 0 0010 1 001"),  # 0, -1; what follows a full code has no length
        ([0, 0, 1, 0, 1], "00 1 0001 011 1 1 1 1"),  # skip 2 (gamma 3), one symbol; gap 1, one symbol
        ([0, 1, 1], "00 1 0001 010 010 1"),  # skip 1 (gamma 2), two symbols
    ],
)
def test_exact_bits(lengths, bits):
    writer = written(lengths)
    text = bits.replace(" ", "")
    assert writer.position == len(text)
    assert writer.finish() == int(text.ljust(-len(text) // 8 * -8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def test_jumping_lengths_take_longer_remainders():
    assert tables.best_rice([0, 1, 0, 2]) == 0
    assert tables.best_rice([9, 8, 9, 12]) == 3
    assert tables.best_rice([]) == 0


@pytest.mark.parametrize(
    ("bits", "alphabet", "what"),
    [
        ("00 0 0000", 2, "outside 1..15"),  # length 0
        ("00 0 0001 1", 1, "no symbol of the alphabet"),
        ("00 0 0010 1 1 1", 3, "no symbol of the alphabet"),  # not full
        ("00 0 0010 001 1", 3, "over-full"),  # 2, 1, 1: more than full
        ("00 1 0001 1 011 1 1", 9, "over-full"),  # a turn goes on behind the full code
        ("00 0 0001 001", 3, "outside 1..15"),  # 1 - 1 = 0
        ("00 0 1111 01", 9, "outside 1..15"),  # 15 + 1
        ("00 1 0001 000000000000000000000000", 9, "too long"),
        ("00 1 0001 00000000000000000000 1 00000000000000000001 1", 9, "no symbol"),
    ],
)
def test_tables_that_are_none(bits, alphabet, what):
    text = bits.replace(" ", "").ljust(80, "0")
    with pytest.raises(FormatError, match=what) as caught:
        tables.read_table(BitReader(int(text, 2).to_bytes(10, "big")), alphabet)
    assert caught.value.code == "E_HUFFMAN"


def test_a_table_that_ends_too_early():
    with pytest.raises(FormatError) as caught:
        tables.read_table(BitReader(b"\x1e"), 99)
    assert caught.value.code == "E_COUNT"
