"""Places of the weights that are kept, as counts of zeros before each; and the same exactly as in the paper.

Song Han, Huizi Mao and William J. Dally, "Deep Compression", ICLR 2016, section 2. The paper fills a gap that does not
fit into the index with an entry of value zero, which costs a value code too. Ours is a symbol of its own instead: with
`width` bits, symbol 2^width - 1 stands for 2^width - 1 zeros and no value, a smaller symbol for that many zeros and the
value behind them. Zeros behind the last value are not written, so that every mask has one form.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy.base import ALONE, Symbols, Work
from featherweight.errors import EncodingError, FormatError

MAX_WIDTH = 16

_CHUNK = 1 << 20  # weights or symbols at a time: index arrays never have the size of the tensor
_READ = 1 << 18  # symbols read at a time: some 15 ms between two looks at a deadline

Mask = NDArray[np.bool_]
"""Which weights are kept, flat: shape (n,)."""

Gaps = NDArray[np.unsignedinteger[Any]]
"""How many zeros lie before each weight that is kept, shape (kept,)."""


def gaps_of(mask: Mask) -> Gaps:
    """How many zeros lie before each weight that is kept."""
    gaps: Gaps = np.empty(int(np.count_nonzero(mask)), np.uint32 if len(mask) <= 1 << 32 else np.uint64)
    done, last = 0, -1
    for start in range(0, len(mask), _CHUNK):
        places = np.flatnonzero(mask[start : start + _CHUNK]) + start
        if len(places):
            gaps[done : done + len(places)] = np.diff(places, prepend=last) - 1
            done, last = done + len(places), int(places[-1])
    return gaps


def gap_counts(gaps: Gaps) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different gaps and how often each occurs."""
    small = np.zeros(1 << MAX_WIDTH, np.int64)
    large = gaps[gaps >= len(small)]
    for start in range(0, len(gaps), _CHUNK):
        part = gaps[start : start + _CHUNK]
        small += np.bincount(part[part < len(small)].astype(np.int64), minlength=len(small))
    values, counts = np.unique(large, return_counts=True)
    used = np.flatnonzero(small)
    return np.concatenate([used, values.astype(np.int64)]), np.concatenate([small[used], counts])


def to_symbols(gaps: Gaps, width: int) -> Symbols:
    """The gaps as symbols of `width` bits (1..16), shape (kept + fillings,)."""
    cap = (1 << width) - 1
    kind = np.uint8 if width <= 8 else np.uint16
    parts = []
    for start in range(0, len(gaps), _CHUNK):
        part = gaps[start : start + _CHUNK].astype(np.int64)
        fillings = part // cap
        symbols = np.full(len(part) + int(fillings.sum()), cap, kind)
        symbols[np.arange(len(part)) + np.cumsum(fillings)] = part - fillings * cap
        parts.append(symbols)
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def from_symbols(symbols: Symbols, width: int, kept: int, mask: Mask, work: Work = ALONE) -> None:
    """Sets the `kept` places that the symbols tell in `mask`, which is all False.

    Raises: FormatError (E_COUNT) when they tell another number of places, (E_INDEX) when a place lies behind the end
    or zeros follow the last one.
    """
    cap = (1 << width) - 1
    if len(symbols) and int(symbols[-1]) == cap:
        raise FormatError("E_INDEX", "a gap without a weight behind it", value=cap)
    done, at = 0, 0
    for start in range(0, len(symbols), _READ):
        work.check()
        part = symbols[start : start + _READ]
        is_kept = part != cap
        ends = np.cumsum(part.astype(np.int64) + is_kept) + at
        at = int(ends[-1])
        if at > len(mask):
            raise FormatError("E_INDEX", f"a weight behind the last one, {len(mask)}", value=at)
        mask[ends[is_kept] - 1] = True
        done += int(np.count_nonzero(is_kept))
    if done != kept:
        raise FormatError("E_COUNT", f"the index holds {done} weights", value=kept)


# the paper's own form, for comparison and for reports ---------------------------------------------------------------


def paper_encode(codes: NDArray[np.integer[Any]], bits: int) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """Entries (code, zeros before it) of a flat array in which code 0 means "no weight"; fillers have code 0.

    A filler stands for 2^bits - 1 zeros and its own cell, which is one more. Both results have shape (entries,).
    """
    cap = (1 << bits) - 1
    places = np.flatnonzero(codes)
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // (cap + 1)
    zeros = np.full(len(places) + int(fillers.sum()), cap, np.int64)
    entries = np.zeros(len(zeros), codes.dtype)
    at = np.arange(len(places)) + np.cumsum(fillers)
    zeros[at] = gaps - fillers * (cap + 1)
    entries[at] = codes[places]
    return entries, zeros


def paper_decode(
    entries: NDArray[np.integer[Any]], zeros: NDArray[np.integer[Any]], count: int
) -> NDArray[np.integer[Any]]:
    """The flat array of `count` codes. Raises: EncodingError for an entry behind the end."""
    places = np.cumsum(np.asarray(zeros, np.int64) + 1) - 1
    if len(places) and int(places[-1]) >= count:
        raise EncodingError(f"an entry behind the last of {count} weights", value=int(places[-1]))
    codes = np.zeros(count, entries.dtype)
    codes[places] = entries
    return codes


def fillers_per_weight(density: float, bits: int) -> float:
    """Fillers to expect for each weight kept when the places are independent: q / (1 - q), q = (1 - density)^(2^bits).

    Raises: EncodingError for a density outside 0..1 (0 excluded).
    """
    if not 0 < density <= 1:
        raise EncodingError("density must lie above 0 and at most at 1", value=density)
    absent = (1 - density) ** (1 << bits)
    return float(absent / (1 - absent))


def paper_bits(weights: int, density: float, value_bits: int, index_bits: int) -> float:
    """Size in bits of a pruned and shared layer before Huffman coding, as the paper counts it.

    (kept + fillers) * (value_bits + index_bits) + a codebook of 2^value_bits numbers of 32 bits, fillers as expected.
    """
    kept = weights * density
    entries = kept * (1 + fillers_per_weight(density, index_bits))
    return entries * (value_bits + index_bits) + 32 * (1 << value_bits)


def sharing_rate(weights: int, centroids: int, number_bits: int = 32) -> float:
    """How many times smaller sharing alone makes a layer: n b / (n log2 k + k b), section 3, equation 1."""
    return weights * number_bits / (weights * float(np.log2(centroids)) + centroids * number_bits)
