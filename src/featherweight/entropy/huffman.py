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

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from featherweight.core.native import native
from featherweight.entropy import _huffman_native, _huffman_reference
from featherweight.entropy._bits import BitReader, BitWriter, check_end
from featherweight.entropy._code_table import BLOCK, MAX_LENGTH, read_table, write_table
from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import Lengths, check_request, check_stream, code_lengths, histogram
from featherweight.errors import FormatError

_BASE_BITS, _WIDTH_BITS = 18, 5  # 16384 symbols of 15 bits are fewer than 2^18 bits

_WAY = _huffman_reference if native is None else _huffman_native  # the same bytes and errors by either


class Huffman(Coder):
    """Optimal whole-bit codes, the code lengths in front."""

    code: ClassVar[int] = 2
    static: ClassVar[bool] = True

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder. Raises: EncodingError also for fewer than 2 or more than 2^15 different symbols."""
        check_stream(symbols, stream)
        lengths = code_lengths(histogram(symbols, stream.alphabet), MAX_LENGTH)
        sizes = _WAY.block_sizes(symbols, lengths)
        coded: bytes = _WAY.encode(_head(lengths, sizes), symbols, lengths, int(sizes.sum()))
        return coded

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
        symbols: Symbols
        symbols, ends = _WAY.decode(data, starts, count, lengths, work)
        wrong = np.flatnonzero(ends[:-1] != starts[1:])
        if len(wrong):
            raise FormatError("E_SPAN", "a block does not end where the next begins", offset=int(ends[wrong[0]]) // 8)
        check_end(data, int(ends[-1]))
        _check_head(data, symbols, lengths, starts, work)
        return symbols

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder. Raises: EncodingError like to_bits."""
        check_stream(symbols, stream)
        counts = histogram(symbols, stream.alphabet)
        lengths = code_lengths(counts, MAX_LENGTH)
        head = _head(lengths, _WAY.block_sizes(symbols, lengths))
        return (head.position + int(counts @ lengths.astype(np.int64)) + 7) // 8


def _check_head(
    data: bytes | memoryview, symbols: Symbols, lengths: Lengths, starts: NDArray[np.int64], work: Work
) -> None:
    """Checks that table and index are those that a writer gives for these symbols, whose blocks begin at `starts`."""
    counts = histogram(symbols, len(lengths), work)
    if np.count_nonzero(counts) < 2 or not np.array_equal(code_lengths(counts, MAX_LENGTH), lengths):
        raise FormatError("E_HUFFMAN", "the code lengths are not those that belong to the symbols")
    writer = _head(lengths, np.diff(starts, append=8 * len(data)), work)
    whole = writer.position // 8
    if writer.position != int(starts[0]) or writer.finish()[:whole] != bytes(data[:whole]):
        raise FormatError("E_HUFFMAN", "table or index are not written in the one form that is allowed")


def _head(lengths: Lengths, sizes: NDArray[np.int64], work: Work = ALONE) -> BitWriter:
    """Table and index of a stream whose blocks take `sizes` bits; what the last one takes does not matter."""
    writer = BitWriter()
    write_table(writer, lengths)
    if len(sizes) <= 1:
        return writer
    smallest, largest = int(sizes[:-1].min()), int(sizes[:-1].max())
    width = (largest - smallest).bit_length()
    writer.put(smallest, _BASE_BITS)
    writer.put(width, _WIDTH_BITS)
    for size in sizes[:-1].tolist():
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
