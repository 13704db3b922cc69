"""Blocks of context_range coded symbol by symbol in Python: the definition of the bytes."""

import numpy as np

from featherweight.entropy._context_classes import Classes
from featherweight.entropy._context_coder import Decoder, Encoder
from featherweight.entropy._context_levels import BITS, CLASSES, Geometry, Levels
from featherweight.entropy.base import Symbols
from featherweight.errors import FormatError


def encode(symbols: Symbols, geometry: Geometry) -> bytes:
    """One block. The symbols are below the alphabet."""
    coder = Encoder()
    if geometry.kind == CLASSES:
        classes = Classes(coder, geometry.alphabet)
        for symbol in symbols.tolist():
            classes.symbol(symbol)
    else:
        levels = Levels(coder, geometry)
        numbers = symbols.tolist() if geometry.kind == BITS else [_level_of(symbol) for symbol in symbols.tolist()]
        for start in range(0, len(numbers), geometry.columns):
            levels.row(numbers[start : start + geometry.columns])
    return coder.finish()


def decode(data: memoryview, geometry: Geometry, out: Symbols) -> None:
    """Decodes one block into `out`.

    Raises: FormatError (E_INDEX, E_DECODED_SIZE) for anything but what `encode` gives.
    """
    coder = Decoder(data)
    if geometry.kind == CLASSES:
        _decode_classes(coder, geometry, out)
    else:
        _decode_levels(coder, geometry, out)
    if not coder.finished():
        raise FormatError(
            "E_DECODED_SIZE",
            "the coded data end too early or too late",
            offset=coder.offset,
            value=len(data),
        )


def _decode_classes(coder: Decoder, geometry: Geometry, out: Symbols) -> None:
    classes = Classes(coder, geometry.alphabet)
    for place in range(len(out)):
        symbol = classes.symbol(0)
        if classes.broken or symbol >= geometry.alphabet:
            raise _foreign(coder, symbol)
        out[place] = symbol


def _decode_levels(coder: Decoder, geometry: Geometry, out: Symbols) -> None:
    levels = Levels(coder, geometry)
    for start in range(0, len(out), geometry.columns):
        row = levels.row([0] * min(geometry.columns, len(out) - start))
        symbols = row if geometry.kind == BITS else [_symbol_of(level) for level in row]
        if levels.broken or max(symbols) >= geometry.alphabet:
            raise _foreign(coder, max(symbols, default=0))
        out[start : start + len(row)] = np.array(symbols, out.dtype)


def _foreign(coder: Decoder, symbol: int) -> FormatError:
    return FormatError("E_INDEX", "a symbol outside the alphabet", offset=coder.offset, value=symbol)


def _level_of(symbol: int) -> int:
    half = (symbol + 1) // 2
    return -half if symbol % 2 else half


def _symbol_of(level: int) -> int:
    return -2 * level - 1 if level < 0 else 2 * level
