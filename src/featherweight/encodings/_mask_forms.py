"""A mask as streams of symbols: the forms it has in the file, and which of them may be the smallest.

A form is a number: `width + 32 * by_columns + 64 * live`.

- width 0: a bitmap, eight weights a byte, first weight in the highest bit, zero bits behind the last one.
  width 1..16: a relative index of that many bits, see `_relative_index.py`.
- The mask is read as a matrix of shape[0] rows and the remaining dimensions as columns; it is written row by row, or
  column by column (by_columns). Few columns (dead inputs) or few rows that hold all weights make one of them smaller.
- live: two bitmaps come first, of the rows and of the columns that keep any weight; the index then runs over those rows
  and columns only. Not with width 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherweight.encodings._relative_index import (
    MAX_WIDTH,
    Mask,
    from_symbols,
    gap_counts,
    gaps_of,
    to_symbols,
)
from featherweight.encodings.base import Shape
from featherweight.entropy.base import ALONE, Stream, Symbols, Work
from featherweight.entropy.tables import entropy_bits
from featherweight.errors import FormatError

_WIDTH, _BY_COLUMNS, _LIVE = 32, 32, 64
_TABLE_BITS = 2.5  # of a symbol in a Huffman table, measured on pruned LeNets: 2 to 3
_CANDIDATES, _FEW_CANDIDATES = 12, 4  # indices measured exactly; the estimate is within some 2 % of the size
_CHUNK = 1 << 20  # weights read at a time
_MANY = 1 << 17  # weights kept above which a percent is not worth the time of more candidates


@dataclass(frozen=True)
class MaskForm:
    """How a mask is written; `number` is the form's number in the file."""

    width: int = 0
    by_columns: bool = False
    live: bool = False

    @property
    def number(self) -> int:
        """The number in the file."""
        return self.width + _BY_COLUMNS * self.by_columns + _LIVE * self.live

    @classmethod
    def of(cls, number: int, shape: Shape) -> "MaskForm":
        """The form of a number.

        Raises: FormatError for a number that no mask has (E_VERSION), or none of this shape (E_SHAPE).
        """
        form = cls(number % _WIDTH, bool(number & _BY_COLUMNS), bool(number & _LIVE))
        rows, columns = matrix(shape)
        flat = rows == 1 or columns == 1
        if form.number != number or form.width > MAX_WIDTH or (form.live and not form.width):
            raise FormatError("E_VERSION", "a form of mask that this version does not know", value=number)
        if flat and (form.by_columns or form.live):
            raise FormatError(
                "E_SHAPE", "a mask of one row or column has no other order and none is live", value=number
            )
        return form

    def streams(self, shape: Shape, kept: int, fillings: int) -> tuple[Stream, ...]:
        """What follows the fields.

        Raises: FormatError for counts that do not fit into the shape (E_SHAPE) or the form (E_COUNT).
        """
        rows, columns = matrix(shape)
        if fillings and not (self.width and kept):
            raise FormatError("E_COUNT", "fillings without a weight behind them, or in a bitmap", value=fillings)
        if kept + fillings * ((1 << self.width) - 1) > rows * columns:
            raise FormatError("E_SHAPE", f"more than the {rows * columns} weights there are", value=(kept, fillings))
        if not self.width:
            return (Stream(_bytes(rows * columns), 256),)
        index = Stream(kept + fillings, 1 << self.width)
        return (Stream(_bytes(rows), 256), Stream(_bytes(columns), 256), index) if self.live else (index,)


def matrix(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a tensor of this shape: its first dimension and all others; one row below rank 2."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def write_mask(mask: Mask, form: MaskForm) -> tuple[Symbols, ...]:
    """The streams of a mask, given as a matrix of shape (rows, columns)."""
    if not form.width:
        return (np.packbits(_in_order(mask, form)),)
    head = (np.packbits(mask.any(axis=1)), np.packbits(mask.any(axis=0))) if form.live else ()
    return (*head, to_symbols(gaps_of(_in_order(mask, form)), form.width))


def read_mask(shape: Shape, form: MaskForm, kept: int, streams: Sequence[Symbols], work: Work = ALONE) -> Mask:
    """The mask that `write_mask` turned into `streams`, shape (rows, columns).

    Raises: FormatError (E_COUNT, E_INDEX, E_PADDING).
    """
    rows, columns = matrix(shape)
    if not form.width:
        flat, found = _unpacked(streams[0], rows * columns, work)
        if found != kept:
            raise FormatError("E_COUNT", "the bitmap holds another number of weights", value=kept)
        return _by_rows(_as_matrix(flat, rows, columns, form), work)
    if not form.live:
        flat = np.zeros(rows * columns, dtype=bool)
        from_symbols(streams[0], form.width, kept, flat, work)
        return _by_rows(_as_matrix(flat, rows, columns, form), work)
    (live_rows, height), (live_columns, width) = _unpacked(streams[0], rows, work), _unpacked(streams[1], columns, work)
    flat = np.zeros(height * width, dtype=bool)
    from_symbols(streams[2], form.width, kept, flat, work)
    return _spread(_as_matrix(flat, height, width, form), live_rows, live_columns, work)


def likely_forms(mask: Mask) -> list[int]:
    """The numbers of the forms that may be the smallest, likeliest first; `mask` has shape (rows, columns)."""
    coded = {0: _coded_bits(np.bincount(np.packbits(mask), minlength=256))}
    raw = {0: float(mask.size)}
    for by_columns, live in _arrangements(mask):
        values, counts = gap_counts(gaps_of(_in_order(mask, MaskForm(1, by_columns, live))))
        # wider symbols than the largest gap needs change nothing
        for width in range(1, min(MAX_WIDTH, int(values.max(initial=0) + 1).bit_length()) + 1):
            symbols = _symbol_counts(values, counts, width)
            number = MaskForm(width, by_columns, live).number
            head = sum(mask.shape) if live else 0
            raw[number] = float(head + width * symbols.sum())
            coded[number] = head + min(_coded_bits(symbols), raw[number])
    best = sorted(coded, key=lambda number: (coded[number], number))
    count = _FEW_CANDIDATES if int(counts.sum()) > _MANY else _CANDIDATES
    return list(dict.fromkeys([*best[:count], min(raw, key=lambda number: (raw[number], number)), 0]))


def _arrangements(mask: Mask) -> list[tuple[bool, bool]]:
    """Pairs of by_columns and live that a matrix of this shape may have."""
    if min(mask.shape) <= 1:
        return [(False, False)]
    full = bool(mask.any(axis=0).all() and mask.any(axis=1).all())
    return [(False, False), (True, False)] + ([] if full else [(False, True), (True, True)])


def _in_order(mask: Mask, form: MaskForm) -> Mask:
    """The flat mask in the order in which the form writes it."""
    part = mask[np.ix_(mask.any(axis=1), mask.any(axis=0))] if form.live else mask
    return np.ascontiguousarray(part.T if form.by_columns else part).reshape(-1)


def _as_matrix(flat: Mask, rows: int, columns: int, form: MaskForm) -> Mask:
    return flat.reshape(columns, rows).T if form.by_columns else flat.reshape(rows, columns)


def _symbol_counts(values: NDArray[np.int64], counts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """How often each symbol of a relative index occurs, from how often each gap does."""
    cap = (1 << width) - 1
    found = np.bincount(values % cap, counts, cap + 1)
    found[cap] = int(counts @ (values // cap))
    return found.astype(np.int64)


def _coded_bits(counts: NDArray[np.int64]) -> float:
    """About what Huffman coding takes: whole bits, so at least one a symbol, and the table."""
    return max(entropy_bits(counts), float(counts.sum())) + _TABLE_BITS * int(np.count_nonzero(counts))


def _unpacked(symbols: Symbols, count: int, work: Work) -> tuple[Mask, int]:
    """A bitmap of `count` bits and how many are set. Raises: FormatError (E_PADDING) for a bit behind the last one."""
    bits = np.empty(8 * len(symbols), np.uint8)
    found = 0
    for start in range(0, len(bits), _CHUNK):
        work.check()
        part = bits[start : start + _CHUNK]
        part[:] = np.unpackbits(symbols[start // 8 : (start + _CHUNK) // 8].astype(np.uint8, copy=False))
        found += int(np.count_nonzero(part))
    if bits[count:].any():
        raise FormatError("E_PADDING", "a bitmap has bits behind its last weight", value=count)
    return bits[:count].view(np.bool_), found


def _by_rows(mask: Mask, work: Work) -> Mask:
    """The matrix with its rows one after the other in memory."""
    if mask.flags.c_contiguous:
        return mask
    out = np.empty(mask.shape, dtype=bool)
    for rows, columns in _tiles(mask.shape):
        work.check()
        out[rows, columns] = mask[rows, columns]
    return out


def _spread(inner: Mask, live_rows: Mask, live_columns: Mask, work: Work) -> Mask:
    """The matrix that is `inner` in its live rows and columns.

    Raises: FormatError (E_INDEX) for a live row or column without weights.
    """
    mask = np.zeros((len(live_rows), len(live_columns)), dtype=bool)
    used_rows, used_columns = np.zeros(inner.shape[0], dtype=bool), np.zeros(inner.shape[1], dtype=bool)
    row = column = 0  # of `inner`, where the tile begins
    for rows, columns in _tiles(mask.shape):
        work.check()
        if not columns.start:
            row, column = int(np.count_nonzero(live_rows[: rows.start])), 0
        here = np.ix_(live_rows[rows], live_columns[columns])
        height, width = len(here[0]), here[1].size
        part = inner[row : row + height, column : column + width]
        mask[rows, columns][here] = part
        used_rows[row : row + height] |= part.any(axis=1)
        used_columns[column : column + width] |= part.any(axis=0)
        column += width
    if not (used_rows.all() and used_columns.all()):
        raise FormatError("E_INDEX", "a row or column without weights is marked as live", value=inner.shape)
    return mask


def _tiles(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Parts of a matrix of at most 2^20 weights each, row after row of them."""
    rows, columns = shape
    height = min(rows, 1 << 10)
    width = max(1, _CHUNK // max(height, 1))
    for top in range(0, rows, max(height, 1)):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)


def _bytes(bits: int) -> int:
    return (bits + 7) // 8
