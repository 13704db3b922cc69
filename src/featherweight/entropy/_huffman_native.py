"""The codes of a Huffman stream by native/entropy/huffman: the same bytes as _huffman_reference, fast."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherweight.core.native import native as _module
from featherweight.entropy._bits import BitWriter
from featherweight.entropy._code_table import BLOCK, codes, in_order
from featherweight.entropy.base import Symbols, Work
from featherweight.entropy.tables import Lengths, native_symbols, symbol_type

native: Any = _module  # this file is used only where it is not None

_BATCH = (1 << 20) // BLOCK  # blocks decoded between two looks at `Work.check`


def block_sizes(symbols: Symbols, lengths: Lengths) -> NDArray[np.int64]:
    """The bits that the codes of each block take, shape (blocks,)."""
    sizes = np.empty(-(-len(symbols) // BLOCK), np.uint64)
    native.huffman_sizes(native_symbols(symbols), lengths, BLOCK, sizes)
    return sizes.astype(np.int64)


def encode(head: BitWriter, symbols: Symbols, lengths: Lengths, bits: int) -> bytes:
    """`head`, then the codes of all symbols, which take `bits` bits, then zero bits up to a whole byte."""
    first = head.position % 8
    begun = head.finish()
    whole = len(begun) - bool(first)
    out = np.empty(whole + (first + bits + 7) // 8 + 8, np.uint8)  # 8 more for the last store
    out[: len(begun)] = np.frombuffer(begun, np.uint8)
    end = native.huffman_encode(native_symbols(symbols), codes(lengths), lengths, first, out[whole:])
    return out[: whole + (end + 7) // 8].tobytes()


def decode(
    data: bytes | memoryview, starts: NDArray[np.int64], count: int, lengths: Lengths, work: Work
) -> tuple[Symbols, NDArray[np.int64]]:
    """The symbols of all blocks, shape (count,), and the bit behind the last code of each block.

    A block that needs bits behind the end ends at 8 * len(data) + 1, whatever it seems to hold.
    """
    order = in_order(lengths)
    symbols = np.empty(count, symbol_type(len(lengths)))
    lookup = native.HuffmanLookup(order.astype(np.uint32), lengths[order], symbols.itemsize == 1 and count > BLOCK)
    begins, ends = starts.astype(np.uint64), np.empty(len(starts), np.uint64)
    coded = np.frombuffer(data, np.uint8)
    for first in range(0, len(starts), _BATCH):
        work.check()
        here = slice(first, first + _BATCH)
        out = symbols[first * BLOCK : (first + _BATCH) * BLOCK]
        native.huffman_decode(coded, begins[here], lookup, BLOCK, out, ends[here], work.threads)
    return symbols, ends.astype(np.int64)
