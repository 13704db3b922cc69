"""Statistics of symbols: histograms and optimal code lengths; checks that all coders share."""

import numpy as np
from numpy.typing import NDArray

from featherweight.core.native import native
from featherweight.entropy.base import ALONE, Stream, Symbols, Work
from featherweight.errors import EncodingError, FormatError

MAX_ALPHABET = 1 << 20  # that every coder takes
LARGEST_ALPHABET = 1 << 32  # that any coder takes

_TYPES: dict[int, np.dtype[np.unsignedinteger]] = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}

Counts = NDArray[np.int64]
"""How often each symbol occurs, shape (alphabet,)."""

Lengths = NDArray[np.uint8]
"""Length in bits of each symbol's code, shape (alphabet,); 0 for a symbol that does not occur."""


def check_stream(symbols: Symbols, stream: Stream, most: int = MAX_ALPHABET) -> None:
    """Checks that a stream may be coded at all.

    Raises: EncodingError for an alphabet outside 1..most, a shape that is not (stream.count,), a type that is no
    unsigned integer, or a symbol outside the alphabet.
    """
    alphabet = stream.alphabet
    if not 1 <= alphabet <= most:
        raise EncodingError(f"an alphabet has 1 to {most} symbols", value=alphabet)
    if symbols.shape != (stream.count,) or symbols.dtype.kind != "u":
        raise EncodingError(
            f"symbols must be a flat array of {stream.count} unsigned integers",
            value=f"{symbols.dtype}, shape {symbols.shape}",
        )
    if alphabet < 1 << 8 * symbols.itemsize and len(symbols) and int(symbols.max()) >= alphabet:
        raise EncodingError(f"a symbol lies outside the alphabet of {alphabet}", value=int(symbols.max()))


def check_request(stream: Stream, most: int = MAX_ALPHABET) -> None:
    """Checks what a reader asks of a decoder.

    Raises: FormatError (E_COUNT) for a negative count or an alphabet outside 1..most.
    """
    if stream.count < 0 or not 1 <= stream.alphabet <= most:
        raise FormatError(
            "E_COUNT",
            f"a stream has 0 or more of 1 to {most} symbols",
            value=(stream.count, stream.alphabet),
        )


def symbol_size(alphabet: int) -> int:
    """The bytes of the smallest unsigned type that holds the symbols of an alphabet."""
    return 1 if alphabet <= 1 << 8 else 2 if alphabet <= 1 << 16 else 4 if alphabet <= 1 << 32 else 8


def symbol_type(alphabet: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned type that holds the symbols of an alphabet."""
    return _TYPES[symbol_size(alphabet)]


def histogram(symbols: Symbols, alphabet: int, work: Work = ALONE) -> Counts:
    """How often each symbol occurs, shape (alphabet,). Memory beyond the result is bounded."""
    counts = np.zeros(alphabet, np.int64)
    for start in range(0, len(symbols), 1 << 20):  # bincount makes an int64 copy of what it is given
        work.check()
        part = symbols[start : start + (1 << 20)]
        if native is None:
            counts += np.bincount(part, minlength=alphabet)
        else:
            native.histogram(native_symbols(part), counts)
    return counts


def largest(symbols: Symbols, work: Work = ALONE) -> int:
    """The largest symbol, 0 if there are none; symbols are as `native_symbols` gives them."""
    found = 0
    for start in range(0, len(symbols), 1 << 20):
        work.check()
        part = symbols[start : start + (1 << 20)]
        found = max(found, int(part.max()) if native is None else native.largest(part))
    return found


def native_symbols(symbols: Symbols) -> Symbols:
    """The same symbols as native code takes them: one behind the other, of at most 4 bytes (an alphabet has 2^20)."""
    return np.ascontiguousarray(symbols if symbols.itemsize <= 4 else symbols.astype(np.uint32))


def entropy_bits(counts: Counts) -> float:
    """The entropy of the whole stream in bits: count times Shannon's entropy of one symbol."""
    used = counts[counts > 0].astype(np.float64)
    return float((used * np.log2(used.sum() / used)).sum())


def code_lengths(counts: Counts, limit: int) -> Lengths:
    """The lengths of a prefix code that is optimal among those with no length above `limit` (package-merge).

    Symbols are taken in order of (count, symbol), and of a single symbol and a package of equal count the symbol
    comes first: this fixes one code where several are optimal. Lawrence L. Larmore and Daniel S. Hirschberg, "A fast
    algorithm for optimal length-limited Huffman codes", 1990.

    Raises: EncodingError when fewer than 2 or more than 2^limit symbols occur.
    """
    used = np.flatnonzero(counts)
    if not 2 <= len(used) <= 1 << limit:
        raise EncodingError(f"a prefix code of at most {limit} bits has 2 to {1 << limit} symbols", value=len(used))
    used = used[np.argsort(counts[used], kind="stable")]
    singles = counts[used].astype(np.int64)
    is_single = [np.ones(len(used), dtype=bool)]
    level = singles
    for _ in range(limit - 1):
        pairs = len(level) // 2
        packages = level[: 2 * pairs : 2] + level[1 : 2 * pairs : 2]
        merged = np.concatenate([singles, packages])
        order = np.argsort(merged, kind="stable")
        level = merged[order]
        is_single.append(order < len(used))
    return _unpack(is_single, used, len(counts))


def _unpack(is_single: list[NDArray[np.bool_]], used: NDArray[np.int64], alphabet: int) -> Lengths:
    """Code length = in how many levels the symbol is among the 2n - 2 cheapest or in a package of theirs."""
    lengths = np.zeros(alphabet, np.uint8)
    taken = 2 * len(used) - 2
    for level in reversed(is_single):
        singles = int(np.count_nonzero(level[:taken]))
        lengths[used[:singles]] += 1
        taken = 2 * (taken - singles)
    return lengths
