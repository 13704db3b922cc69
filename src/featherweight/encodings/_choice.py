"""Which coder a stream of symbols gets: the one that takes the fewest bytes.

With one exception: in a long stream a static code must save a share of the raw bytes, `Encoding.worth`. Mantissas of
weights save a third of a percent by it, and would be decoded at a fraction of the speed of copying for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from featherweight.entropy.base import Coder, Stream, Symbols
from featherweight.entropy.tables import entropy_bits, histogram
from featherweight.errors import EncodingError

PLAIN = (0, 1)
"""The numbers of constant and raw, which always take part; neither is below the zero-order entropy."""

_LONG = 1 << 16  # symbols from which on coding costs more than counting
_SHARE = 512  # symbols: a stream is long enough for the exception if the share that has to be saved is as many


@dataclass(frozen=True)
class Choice:
    """A coder, the bytes that it takes for a stream, and these bytes where they were needed to know how many."""

    coder: Coder
    size: int
    data: bytes | None = None


def choose(symbols: Symbols, stream: Stream, coders: Sequence[Coder], worth: float = 1 / 128) -> Choice:
    """The coder that takes the fewest bytes, the first of equals; `worth` is the share that a static code must save.

    Raises: EncodingError for a stream that no coder holds.
    """
    asked = stream.count * worth >= _SHARE and stream.alphabet <= _LONG
    hopeless = asked and _entropy_bytes(symbols, stream) > (1 - worth) * _raw_bytes(stream)
    best: Choice | None = None
    for coder in coders:
        if hopeless and coder.static:
            continue
        try:
            made = _measured(coder, symbols, stream)
        except EncodingError:  # a stream that this coder cannot hold; raw holds all that are in order
            continue
        if best is None or made.size < best.size:
            best = made
    if best is None:
        raise EncodingError(f"no coder holds the stream of an alphabet of {stream.alphabet}", value=len(symbols))
    return best


def floor(symbols: Symbols, stream: Stream, coders: Sequence[Coder]) -> float:
    """Bytes that the stream takes at least, whichever of the coders is chosen; 0 where that is not known cheaply."""
    if not _is_long(stream) or not all(coder.static or coder.code in PLAIN for coder in coders):
        return 0.0
    return _entropy_bytes(symbols, stream)


def _measured(coder: Coder, symbols: Symbols, stream: Stream) -> Choice:
    if coder.sizes_by_coding:
        data = coder.to_bits(symbols, stream)
        return Choice(coder, len(data), data)
    return Choice(coder, coder.size(symbols, stream))


def _is_long(stream: Stream) -> bool:
    return stream.count >= _LONG and stream.alphabet <= _LONG


def _raw_bytes(stream: Stream) -> float:
    return stream.count * (stream.alphabet - 1).bit_length() / 8


def _entropy_bytes(symbols: Symbols, stream: Stream) -> float:
    return entropy_bits(histogram(symbols, stream.alphabet)) / 8
