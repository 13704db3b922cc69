"""Raw bits: every symbol in the same number of bits.

Grammar: `count` numbers of `width` bits each, most significant bit first, then zero bits up to a whole byte.
`width` is the smallest with 2^width >= alphabet, so 0 for an alphabet of one symbol (no bytes at all).
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from featherweight.core.native import native
from featherweight.entropy._bits import BitWriter, check_end
from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import LARGEST_ALPHABET, check_request, check_stream, symbol_type
from featherweight.errors import FormatError

_WIDEST = 24  # bits that a BitWriter puts at once; wider symbols go in two halves
_CHUNK = 1 << 18  # symbols unpacked at a time, a multiple of 8 so that chunks begin at whole bytes


class Raw(Coder):
    """Fixed width, no statistics."""

    code: ClassVar[int] = 1

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder."""
        check_stream(symbols, stream, LARGEST_ALPHABET)
        width = width_of(stream.alphabet)
        if width == 8:
            return symbols.astype(np.uint8, copy=False).tobytes()
        writer = BitWriter()
        if width <= _WIDEST:
            writer.put_all(symbols, np.broadcast_to(np.uint8(width), symbols.shape))
            return writer.finish()
        widths = np.tile(np.array([width - 16, 16], np.uint8), min(len(symbols), _CHUNK))
        for start in range(0, len(symbols), _CHUNK):
            part = symbols[start : start + _CHUNK]
            halves = np.stack([part >> 16, part & 0xFFFF], axis=1).reshape(-1)
            writer.put_all(halves, widths[: len(halves)])
        return writer.finish()

    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """See Coder. Bytes themselves (an alphabet of 256) are not copied, and cannot be written to.

        Raises: FormatError (E_COUNT, E_DECODED_SIZE, E_PADDING, E_INDEX).
        """
        check_request(stream, LARGEST_ALPHABET)
        count, alphabet = stream.count, stream.alphabet
        width = width_of(alphabet)
        if count * width > 8 * len(data):
            raise FormatError("E_COUNT", f"{count} symbols of {width} bits do not fit in the bytes", value=len(data))
        check_end(data, count * width)
        raw = np.frombuffer(data, np.uint8)
        if alphabet == 256:
            raw.flags.writeable = False  # the caller's memory
            return raw
        symbols = np.empty(count, symbol_type(alphabet))
        for start in range(0, count, _CHUNK):
            work.check()
            part = symbols[start : start + _CHUNK]
            first = start * width // 8
            if _unpack(raw[first : first + (len(part) * width + 7) // 8], width, part) >= alphabet:
                at = int(part.argmax())
                raise FormatError(
                    "E_INDEX",
                    f"a symbol outside the alphabet of {alphabet}",
                    offset=first + at * width // 8,
                    value=int(part[at]),
                )
        return symbols

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder. O(count), for the check of the symbols."""
        check_stream(symbols, stream, LARGEST_ALPHABET)
        return (len(symbols) * width_of(stream.alphabet) + 7) // 8


def width_of(alphabet: int) -> int:
    """The bits of one symbol: the smallest width with 2^width >= alphabet."""
    return (alphabet - 1).bit_length()


def _unpack(data: NDArray[np.uint8], width: int, symbols: Symbols) -> int:
    """Fills `symbols` (count,) from the bytes `data`; gives the largest of them."""
    if native is not None:
        most: int = native.raw_decode(data, width, symbols)
        return most
    if width == 8:
        symbols[:] = data
        return int(symbols.max())
    symbols[:] = 0
    bits = np.unpackbits(data, count=len(symbols) * width)
    for plane in bits.reshape(len(symbols), width).T:
        np.left_shift(symbols, 1, out=symbols)
        np.bitwise_or(symbols, plane, out=symbols)
    return int(symbols.max())
