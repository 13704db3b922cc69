"""Constant: one symbol, repeated.

Grammar: for a stream that is not empty and an alphabet of more than one symbol, the symbol as a little-endian number
in as many bytes as the largest symbol of the alphabet needs. For an empty stream or an alphabet of one symbol: nothing.
"""

from typing import ClassVar

import numpy as np

from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import LARGEST_ALPHABET, check_request, check_stream, symbol_type
from featherweight.errors import EncodingError, FormatError

_CHUNK = 1 << 16  # symbols filled in or looked at, at a time


class Constant(Coder):
    """Holds streams in which all symbols are equal, and empty ones."""

    code: ClassVar[int] = 0

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder. Raises: EncodingError also for a stream of different symbols."""
        size = self.size(symbols, stream)
        return int(symbols[0]).to_bytes(size, "little") if size else b""

    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """See Coder. The count is not bounded by the bytes: a reader compares it with its budget before.

        Raises: FormatError (E_COUNT, E_DECODED_SIZE, E_INDEX).
        """
        check_request(stream, LARGEST_ALPHABET)
        size = _size(stream)
        if len(data) != size:
            raise FormatError(
                "E_DECODED_SIZE", f"the symbol takes {size} bytes", offset=min(size, len(data)), value=len(data)
            )
        symbol = int.from_bytes(data, "little")
        if symbol >= stream.alphabet:
            raise FormatError("E_INDEX", f"a symbol outside the alphabet of {stream.alphabet}", value=symbol)
        symbols = np.empty(stream.count, symbol_type(stream.alphabet))
        for start in range(0, stream.count, _CHUNK):
            work.check()
            symbols[start : start + _CHUNK] = symbol
        return symbols

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder. Raises: EncodingError also for a stream of different symbols."""
        check_stream(symbols, stream, LARGEST_ALPHABET)
        for start in range(0, stream.count, _CHUNK):  # most streams show within the first symbols that they differ
            part = symbols[start : start + _CHUNK]
            if bool((part != symbols[0]).any()):
                raise EncodingError("the symbols are not all equal", value=int(part.max()), fix="Use another coder.")
        return _size(stream)


def _size(stream: Stream) -> int:
    return ((stream.alphabet - 1).bit_length() + 7) // 8 if stream.count else 0
