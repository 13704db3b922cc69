"""The codes of a Huffman stream in plain numpy: what defines the bytes, and the way where there is no native one.

Blocks decode as the lanes of one vector where they are many, one after the other where they are few.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy._bits import BitWriter
from featherweight.entropy._code_table import BLOCK, MAX_LENGTH, codes, in_order
from featherweight.entropy.base import ALONE, Symbols, Work
from featherweight.entropy.tables import Lengths, symbol_type

_CHUNK = 1 << 20  # symbols coded, bytes or symbols moved at a time
_LANES = 1 << 11  # blocks decoded in lock step at a time: bounds the work memory to a few times 32 Mi symbols
_CHECKED_COLUMNS = 1 << 7  # of at most _LANES symbols each, decoded between two looks at `Work.check`
_FEW_LANES = 24  # below it, following one block after the other is faster than numpy calls on short vectors


def block_sizes(symbols: Symbols, lengths: Lengths) -> NDArray[np.int64]:
    """The bits that the codes of each block take, shape (blocks,)."""
    starts = range(0, len(symbols), BLOCK)
    return np.array([lengths[symbols[at : at + BLOCK]].sum(dtype=np.int64) for at in starts], np.int64)


def encode(head: BitWriter, symbols: Symbols, lengths: Lengths, bits: int) -> bytes:
    """`head`, then the codes of all symbols, which take `bits` bits, then zero bits up to a whole byte."""
    numbers = codes(lengths)
    for start in range(0, len(symbols), _CHUNK):
        part = symbols[start : start + _CHUNK]
        head.put_all(numbers[part], lengths[part])
    return head.finish()


def decode(
    data: bytes | memoryview, starts: NDArray[np.int64], count: int, lengths: Lengths, work: Work
) -> tuple[Symbols, NDArray[np.int64]]:
    """The symbols of all blocks, shape (count,), and the bit behind the last code of each block.

    A block that needs bits behind the end ends at 8 * len(data) + 1, whatever it seems to hold.
    """
    lookup = _lookup(lengths)
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
    return symbols, np.minimum(ends, 8 * len(data) + 1)


@dataclass(frozen=True)
class _Lookup:
    """For every 15 bits that may come: the symbol that they begin with and the length of its code."""

    symbols: Symbols  # shape (2^15,)
    lengths: Lengths  # shape (2^15,)


def _lookup(lengths: Lengths) -> _Lookup:
    order = in_order(lengths)
    room = 1 << (MAX_LENGTH - lengths[order].astype(np.int64))
    return _Lookup(np.repeat(order.astype(symbol_type(len(lengths))), room), np.repeat(lengths[order], room))


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
    """Decodes one block into `out`; gives the bit behind its last code, or one behind the end.

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
            return 8 * len(data) + 1
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
