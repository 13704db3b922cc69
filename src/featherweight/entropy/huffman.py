"""Canonical Huffman coding with codes of at most 15 bits.

Grammar, most significant bit first and without gaps up to the padding at the very end:

    stream  = table [index] code* padding
    table   = see entropy/_code_table.py: the code lengths of the symbols and nothing else
    index   = base (18 bits) | width (5 bits) | extra (width bits) for every block but the last
              only when count > 16384: the codes then lie in blocks of 16384 symbols (the last may be shorter), and
              block i takes base + extra_i bits; base is the smallest of these sizes, width the bits of the largest
              extra
    code    = the canonical code of a symbol: the first code is all zeros; in order of (length, symbol) the next one
              is the one before plus 1, with zeros appended up to its length
    padding = zero bits up to a whole byte

The lengths are the optimal ones of `tables.code_lengths` for the symbols of the stream. A reader of streams from
strangers SHOULD check that; one that does not still decodes all that a writer wrote. At least two different symbols
occur: anything else is a stream for `constant`. Blocks decode independently, here as the lanes of one vector.

D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", 1952.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy._bits import BitReader, BitWriter, check_end
from featherweight.entropy._code_table import MAX_LENGTH, codes, in_order, read_table, write_table
from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import (
    Lengths,
    check_request,
    check_stream,
    code_lengths,
    histogram,
    symbol_type,
)
from featherweight.errors import FormatError

BLOCK = 1 << 14  # symbols

_BASE_BITS, _WIDTH_BITS = 18, 5  # 16384 symbols of 15 bits are fewer than 2^18 bits
_CHUNK = 1 << 20  # symbols coded, bytes or symbols moved at a time
_LANES = 1 << 11  # blocks decoded in lock step at a time: bounds the work memory to a few times 32 Mi symbols
_CHECKED_COLUMNS = 1 << 7  # of at most _LANES symbols each, decoded between two looks at `Work.check`
_FEW_LANES = 24  # below it, following one block after the other is faster than numpy calls on short vectors


class Huffman(Coder):
    """Optimal whole-bit codes, the code lengths in front."""

    code: ClassVar[int] = 2

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder. Raises: EncodingError also for fewer than 2 or more than 2^15 different symbols."""
        check_stream(symbols, stream)
        lengths = code_lengths(histogram(symbols, stream.alphabet), MAX_LENGTH)
        writer = _head(symbols, lengths)
        numbers = codes(lengths)
        for start in range(0, len(symbols), _CHUNK):
            part = symbols[start : start + _CHUNK]
            writer.put_all(numbers[part], lengths[part])
        return writer.finish()

    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """See Coder. Raises: FormatError (E_COUNT, E_HUFFMAN, E_SPAN, E_PADDING, E_DECODED_SIZE)."""
        check_request(stream)
        count, alphabet = stream.count, stream.alphabet
        if not 2 <= count <= 8 * len(data):
            raise FormatError("E_COUNT", f"{len(data)} bytes cannot hold this many symbols", value=count)
        reader = BitReader(data)
        lengths = read_table(reader, alphabet, work)
        sizes = _read_index(reader, count, work) if count > BLOCK else np.zeros(0, np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]) + reader.position
        if int(starts[-1]) > 8 * len(data):
            raise FormatError("E_SPAN", "a block begins behind the end", offset=len(data), value=int(starts[-1]) // 8)
        symbols, ends = _decode(data, starts, count, _lookup(lengths, alphabet), work)
        wrong = np.flatnonzero(ends[:-1] != starts[1:])
        if len(wrong):
            raise FormatError("E_SPAN", "a block does not end where the next begins", offset=int(ends[wrong[0]]) // 8)
        check_end(data, int(ends[-1]))
        self._check_head(data, symbols, lengths, int(starts[0]), work)
        return symbols

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder. Raises: EncodingError like to_bits."""
        check_stream(symbols, stream)
        counts = histogram(symbols, stream.alphabet)
        lengths = code_lengths(counts, MAX_LENGTH)
        return (_head(symbols, lengths).position + int(counts @ lengths.astype(np.int64)) + 7) // 8

    @staticmethod
    def _check_head(data: bytes | memoryview, symbols: Symbols, lengths: Lengths, end: int, work: Work) -> None:
        """Checks that table and index are those that a writer gives for these symbols."""
        counts = histogram(symbols, len(lengths), work)
        if np.count_nonzero(counts) < 2 or not np.array_equal(code_lengths(counts, MAX_LENGTH), lengths):
            raise FormatError("E_HUFFMAN", "the code lengths are not those that belong to the symbols")
        writer = _head(symbols, lengths, work)
        whole = writer.position // 8
        if writer.position != end or writer.finish()[:whole] != bytes(data[:whole]):
            raise FormatError("E_HUFFMAN", "table or index are not written in the one form that is allowed")


def _head(symbols: Symbols, lengths: Lengths, work: Work = ALONE) -> BitWriter:
    """Table and index of a stream."""
    writer = BitWriter()
    write_table(writer, lengths)
    if len(symbols) <= BLOCK:
        return writer
    whole = len(symbols) // BLOCK if len(symbols) % BLOCK else len(symbols) // BLOCK - 1  # all blocks but the last
    sizes = []
    for at in range(0, whole * BLOCK, BLOCK):
        work.check()
        sizes.append(int(lengths[symbols[at : at + BLOCK]].sum()))
    width = (max(sizes) - min(sizes)).bit_length()
    writer.put(min(sizes), _BASE_BITS)
    writer.put(width, _WIDTH_BITS)
    smallest = min(sizes)
    for size in sizes:
        work.check()
        writer.put(size - smallest, width)
    return writer


def _read_index(reader: BitReader, count: int, work: Work) -> NDArray[np.int64]:
    """The sizes in bits of all blocks but the last."""
    base, width = reader.take(_BASE_BITS), reader.take(_WIDTH_BITS)
    sizes = []
    for _ in range((count - 1) // BLOCK):
        work.check()
        sizes.append(base + reader.take(width))
    return np.array(sizes, np.int64)


@dataclass(frozen=True)
class _Lookup:
    """For every 15 bits that may come: the symbol that they begin with and the length of its code."""

    symbols: Symbols  # shape (2^15,)
    lengths: Lengths  # shape (2^15,)


def _lookup(lengths: Lengths, alphabet: int) -> _Lookup:
    order = in_order(lengths)
    room = 1 << (MAX_LENGTH - lengths[order].astype(np.int64))
    return _Lookup(np.repeat(order.astype(symbol_type(alphabet)), room), np.repeat(lengths[order], room))


def _decode(
    data: bytes | memoryview, starts: NDArray[np.int64], count: int, lookup: _Lookup, work: Work
) -> tuple[Symbols, NDArray[np.int64]]:
    """The symbols of all blocks, shape (count,), and the bit behind the last code of each block."""
    symbols = np.empty(count, lookup.symbols.dtype)
    ends = np.empty(len(starts), np.int64)
    whole = count // BLOCK
    lockstep = whole if whole >= _FEW_LANES else 0
    for first in range(0, lockstep, _LANES):
        lanes = slice(first, min(first + _LANES, lockstep))
        out = symbols[lanes.start * BLOCK : lanes.stop * BLOCK].reshape(-1, BLOCK)
        ends[lanes] = _in_lock_step(data, starts[lanes], lookup, out, work)
    for block in range(lockstep, len(starts)):
        work.check()
        out = symbols[block * BLOCK : (block + 1) * BLOCK]
        ends[block] = _in_sequence(data, int(starts[block]), lookup, out)
    return symbols, ends


def _in_lock_step(
    data: bytes | memoryview, starts: NDArray[np.int64], lookup: _Lookup, out: Symbols, work: Work
) -> NDArray[np.int64]:
    """Decodes one block a lane into `out`, shape (lanes, BLOCK); gives the bit behind the last code of each lane."""
    first = int(starts[0]) // 8
    last = int(starts[-1]) // 8 + BLOCK * MAX_LENGTH // 8 + 1
    windows = _windows(data, first, last, work)
    position = starts - 8 * first
    columns = np.empty(out.shape[::-1], out.dtype)
    for number, column in enumerate(columns):
        if not number % _CHECKED_COLUMNS:
            work.check()
        # a lane that runs past the end (in a broken stream only) reads the last window again and again
        window = windows.take(position >> 3, mode="clip")
        window >>= (17 - (position & 7)).astype(np.uint32)
        window &= 0x7FFF
        lookup.symbols.take(window, out=column)
        position += lookup.lengths.take(window)
    for lane in range(0, len(out), _CHUNK // BLOCK):
        work.check()
        out[lane : lane + _CHUNK // BLOCK] = columns[:, lane : lane + _CHUNK // BLOCK].T
    return position + 8 * first


def _in_sequence(data: bytes | memoryview, start: int, lookup: _Lookup, out: Symbols) -> int:
    """Decodes one block into `out`; gives the bit behind its last code.

    Looks up the symbol at every bit position as if a code began there, then hops from code to code.
    """
    first = start // 8
    windows = _windows(data, first, first + len(out) * MAX_LENGTH // 8 + 2, ALONE)
    keys = (windows[:, None] >> np.arange(17, 9, -1, dtype=np.uint32)) & np.uint32(0x7FFF)
    keys = keys.reshape(-1)
    hops = lookup.lengths.take(keys).tobytes()
    position = start - 8 * first
    places: list[int] = []
    for _ in range(len(out)):
        if position >= len(hops):
            raise FormatError("E_DECODED_SIZE", "the codes end too early", offset=len(data), value=len(places))
        places.append(position)
        position += hops[position]
    lookup.symbols.take(keys[places], out=out)
    return position + 8 * first


def _windows(data: bytes | memoryview, first: int, last: int, work: Work) -> NDArray[np.uint32]:
    """The 32 bits that begin at each byte from `first` to before `last`, zeros behind the end; at least one."""
    part = np.frombuffer(data, np.uint8)[first : last + 3]
    windows = np.empty(len(part) + 1, np.uint32)
    for start in range(0, len(windows), _CHUNK):
        work.check()
        count = min(_CHUNK, len(windows) - start)
        padded = np.zeros(count + 3, np.uint32)
        here = part[start : start + count + 3]
        padded[: len(here)] = here
        out = windows[start : start + count]
        out[:] = padded[3:]
        for back in (1, 2, 3):
            out |= padded[3 - back : -back] << np.uint32(8 * back)
    return windows
