import numpy as np
import pytest

from featherweight.entropy import _rans_reference as reference
from featherweight.errors import FormatError


def bits(text):
    text = text.replace(" ", "")
    return int(text, 2).to_bytes(len(text) // 8, "big")


# 0 0 0 1. Three of four are 3072 of 4096; with no digit behind the first that is 4096, cut to 4095 and so grade 12
# (weight 2048). One of four is grade 11 (weight 1024). The second grade is 1 below the expected one: z = 2, k = 2.
TABLE = bits("0000 00 000 0 00000001 1100 110 0000000")
# Frequencies 1 + 2047 * 4094 // 3070 = 2730 and 1366. From 65536: symbol 1 gives 47 * 4096 + 2730 + 1334 = 196576;
# symbol 0, three times, 72 * 4096 + 16 = 294928, 108 * 4096 + 88 = 442456, 162 * 4096 + 196 = 663748.
STATE = (663748).to_bytes(4, "little")
SYMBOLS = np.array([0, 0, 0, 1], np.uint8)


def decode(data, count=4, alphabet=2):
    return reference.decode(data, count, alphabet, lambda: None)


def refused(data, count=4, alphabet=2):
    with pytest.raises(FormatError) as caught:
        decode(data, count, alphabet)
    return caught.value.code


def test_a_stream_written_by_hand():
    assert reference.encode(SYMBOLS) == TABLE + STATE
    assert decode(TABLE + STATE).tolist() == SYMBOLS.tolist()


def test_symbols_that_are_all_equal_are_not_coded():
    assert reference.encode(np.zeros(0, np.uint8)) is None
    assert reference.encode(np.full(9, 3, np.uint8)) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00", "E_COUNT"),
        (TABLE, "E_COUNT"),
        (TABLE + STATE[:3], "E_COUNT"),
        (TABLE + STATE + b"\0", "E_DECODED_SIZE"),
        (TABLE + b"\xff\xff\0\0", "E_ANS"),  # a state below 2^16
        (TABLE + b"\0\0\0\x7f", "E_ANS"),  # does not end as it began
        (TABLE[:3] + b"\x01" + STATE, "E_PADDING"),
    ],
)
def test_broken_streams(data, code):
    assert refused(data) == code


def test_words_that_end_too_early():
    symbols = (np.arange(100) ** 2 % 23).astype(np.uint8)
    data = reference.encode(symbols)
    assert refused(data[:-2], 100, 23) == "E_DECODED_SIZE"


def test_a_table_of_other_frequencies():
    """A stream that another table would decode as well is not the one form of its symbols."""
    symbols = np.array([0, 0, 0, 1, 1, 1, 1, 1], np.uint8)
    coding = reference._Coding(reference.models.choose(np.array([3, 1] + [0] * 302)))
    assert refused(TABLE + coding.encode(symbols), 8) == "E_ANS"


def test_looks_at_the_clock_before_each_block():
    symbols = np.tile(np.arange(2, dtype=np.uint8), reference.BLOCK // 2 + 1)
    seen = []
    reference.decode(reference.encode(symbols), len(symbols), 2, lambda: seen.append(1))
    assert len(seen) == 2
