"""How the code lengths of a Huffman code are written, and the codes that follow from them.

Grammar, most significant bit first (`Z` zero bits are followed by one 1 bit, and then by the low bits if any):

    table   = k (2 bits) | runs (1 bit) | first (4 bits) | body
    body    = length*                      if runs = 0: symbols 0, 1, 2, ... all have a code
            | skip used (gap used)*        if runs = 1: turns of symbols without and with a code
    skip    = gamma(symbols without a code before the first one + 1)
    gap     = gamma(symbols without a code), at least 1
    used    = gamma(r) length{r}           the next r symbols have a code, r at least 1
    length  = nothing for the very first one, which is `first`; then Z = z >> k and the k low bits of z, where z is the
              difference to the length before, counted as 0, +1, -1, +2, -2, ... = 0, 1, 2, 3, 4, ...
    gamma(n)= Z = w, then the w low bits of n, where w = floor(log2 n), n at least 1

The table ends where the code is full: where the sum of 2^-length reaches 1, which has to be at the end of a turn.
Lengths are 1..15. A writer takes runs = 0 where it can and the k that makes the table shortest, the smallest of equals.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy._bits import BitReader, BitWriter
from featherweight.entropy.base import ALONE, Work
from featherweight.entropy.tables import Lengths
from featherweight.errors import FormatError

MAX_LENGTH = 15
BLOCK = 1 << 14  # symbols of a stream that decode together

_FULL = 1 << MAX_LENGTH
_RICE_BITS, _FIRST_BITS, _MAX_DIFFERENCE, _MAX_RUN_BITS = 2, 4, 2 * MAX_LENGTH, 20


def write_table(writer: BitWriter, lengths: Lengths) -> None:
    """Appends the table of a full code: `lengths` has shape (alphabet,), 0 for symbols without a code."""
    used = np.flatnonzero(lengths)
    values = [int(length) for length in lengths[used]]
    differences = [_folded(new - old) for old, new in pairwise(values)]
    k = best_rice(differences)
    runs = len(used) != int(used[-1]) + 1
    writer.put(k, _RICE_BITS)
    writer.put(int(runs), 1)
    writer.put(values[0], _FIRST_BITS)
    at = 0
    for skip, count in _turns(used) if runs else [(0, len(used))]:
        if runs:
            _put_gamma(writer, skip + (at == 0))
            _put_gamma(writer, count)
        for folded in differences[max(at - 1, 0) : at + count - 1]:
            writer.put(1 << k | folded & ((1 << k) - 1), (folded >> k) + 1 + k)
        at += count


def best_rice(differences: list[int]) -> int:
    """The k in 0..3 that writes these numbers in the fewest bits, the smallest of equals."""
    costs = [sum((number >> k) + 1 + k for number in differences) for k in range(1 << _RICE_BITS)]
    return costs.index(min(costs))


def read_table(reader: BitReader, alphabet: int, work: Work = ALONE) -> Lengths:
    """The code lengths, shape (alphabet,). Looks at `work.check` before each of them.

    Raises: FormatError (E_HUFFMAN, E_COUNT) for a code that is not full, over-full or has too many symbols, and for
    lengths outside 1..15.
    """
    k, runs, length = reader.take(_RICE_BITS), reader.take(1), reader.take(_FIRST_BITS)
    lengths = np.zeros(alphabet, np.uint8)
    symbol, room = 0, _FULL
    while room > 0:
        count = alphabet
        if runs:
            symbol += _take_gamma(reader) - (room == _FULL)
            count = _take_gamma(reader)
        for _ in range(count):
            work.check()
            if room < _FULL:
                length += _unfolded((reader.zeros(_MAX_DIFFERENCE) << k) + reader.take(k))
            if symbol >= alphabet or not 1 <= length <= MAX_LENGTH:
                raise _broken("a code length outside 1..15 or for no symbol of the alphabet", reader, (symbol, length))
            lengths[symbol] = length
            symbol, room = symbol + 1, room - (_FULL >> length)
            if room <= 0 and not runs:
                break
            if room < 0:
                raise _broken("the code lengths are over-full", reader, symbol)
    if room:
        raise _broken("the code lengths are over-full", reader, symbol)
    return lengths


def codes(lengths: Lengths) -> NDArray[np.uint16]:
    """The canonical codes, shape (alphabet,): shorter ones first, equally long ones in order of the symbols."""
    order = in_order(lengths)
    widths = lengths[order].astype(np.int64)
    room = np.int64(_FULL) >> widths  # of all 15-bit numbers, those that begin with the code
    found = np.zeros(len(lengths), np.uint16)
    found[order] = (np.cumsum(room) - room) >> (MAX_LENGTH - widths)
    return found


def in_order(lengths: Lengths) -> NDArray[np.int64]:
    """The symbols that have a code, in order of their codes."""
    used = np.flatnonzero(lengths)
    return used[np.argsort(lengths[used], kind="stable")]


def _turns(used: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Turns of (symbols without a code, symbols with one)."""
    begins = np.flatnonzero(np.diff(used, prepend=-2) != 1)
    counts = np.diff(begins, append=len(used))
    firsts = used[begins]
    ends = firsts + counts
    return list(zip((firsts - np.concatenate([[0], ends[:-1]])).tolist(), counts.tolist(), strict=True))


def _folded(difference: int) -> int:
    return 2 * difference - 1 if difference > 0 else -2 * difference


def _unfolded(number: int) -> int:
    return (number + 1) // 2 if number % 2 else -(number // 2)


def _put_gamma(writer: BitWriter, number: int) -> None:
    writer.put(number, 2 * number.bit_length() - 1)


def _take_gamma(reader: BitReader) -> int:
    width = reader.zeros(_MAX_RUN_BITS)
    return 1 << width | reader.take(width)


def _broken(what: str, reader: BitReader, value: object) -> FormatError:
    return FormatError("E_HUFFMAN", what, offset=reader.position // 8, value=value)
