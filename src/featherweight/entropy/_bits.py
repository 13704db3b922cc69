"""Bit strings, most significant bit first: what the coders write into and read from."""

import numpy as np
from numpy.typing import NDArray

from featherweight.errors import FormatError

Array = NDArray[np.unsignedinteger]

_CHUNK = 1 << 20  # symbols packed at a time: bounds the work memory to about 60 MB


class BitWriter:
    """Appends unsigned numbers of chosen widths; the first bit goes to the highest bit of the first byte."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._rest, self._rest_bits = 0, 0  # the bits that do not fill a byte yet, 0..7 of them

    @property
    def position(self) -> int:
        """How many bits were written."""
        return 8 * len(self._bytes) + self._rest_bits

    def put(self, value: int, width: int) -> None:
        """Appends one number of `width` bits; `value` must fit."""
        rest = self._rest << width | value
        bits = self._rest_bits + width
        self._rest_bits = bits % 8
        self._bytes += (rest >> self._rest_bits).to_bytes(bits // 8, "big")
        self._rest = rest & ((1 << self._rest_bits) - 1)

    def put_all(self, values: Array, widths: Array) -> None:
        """Appends many numbers: `values` and `widths` have shape (n,), widths are 0..24 and the values fit."""
        for start in range(0, len(values), _CHUNK):
            self._put_chunk(values[start : start + _CHUNK], widths[start : start + _CHUNK])

    def _put_chunk(self, values: Array, widths: Array) -> None:
        ends = np.cumsum(widths, dtype=np.int64) + self._rest_bits
        total = int(ends[-1])
        starts = ends - widths
        word = starts >> 5
        # every number lies in the 64 bits that begin at its 32-bit word: 31 bits of offset and 24 of number at most
        window = values.astype(np.uint64) << (64 - (starts & 31) - widths).astype(np.uint64)
        count = (total >> 5) + 2
        # numbers do not overlap, so that adding them is or-ing them; float64 holds sums below 2^53 exactly
        words = np.bincount(word, (window >> np.uint64(32)).astype(np.float64), count)
        words += np.bincount(word + 1, (window & np.uint64(0xFFFFFFFF)).astype(np.float64), count)
        words[0] += float(self._rest << (32 - self._rest_bits))
        packed = words.astype(">u4").tobytes()
        full, self._rest_bits = divmod(total, 8)
        self._bytes += packed[:full]
        self._rest = packed[full] >> (8 - self._rest_bits)

    def finish(self) -> bytes:
        """All that was written, filled up with zero bits to whole bytes."""
        self.put(0, -self._rest_bits % 8)
        return bytes(self._bytes)


class BitReader:
    """Reads what a BitWriter wrote, number by number, and never past the end."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self.position = data, 0

    def take(self, width: int) -> int:
        """The next number of `width` bits.

        Raises: FormatError (E_COUNT) when the data end before.
        """
        end = self.position + width
        if end > 8 * len(self._data):
            raise FormatError("E_COUNT", "the coded data end too early", offset=len(self._data), value=len(self._data))
        window = int.from_bytes(self._data[self.position // 8 : (end + 7) // 8], "big")
        self.position = end
        return (window >> (-end % 8)) & ((1 << width) - 1)

    def zeros(self, limit: int) -> int:
        """How many 0 bits come before the next 1 bit, which is read too.

        Raises: FormatError (E_HUFFMAN) when they are more than `limit`.
        """
        count = 0
        while self.take(1) == 0:
            count += 1
            if count > limit:
                raise FormatError("E_HUFFMAN", "a run of zero bits is too long", offset=self.position // 8, value=count)
        return count


def check_end(data: bytes | memoryview, end: int) -> None:
    """Checks that `data` hold `end` bits, zero bits up to the next whole byte and nothing else.

    Raises: FormatError (E_DECODED_SIZE, E_PADDING).
    """
    size = (end + 7) // 8
    if len(data) != size:
        raise FormatError(
            "E_DECODED_SIZE", f"the symbols take {size} bytes", offset=min(size, len(data)), value=len(data)
        )
    if end % 8 and data[size - 1] & ((1 << (-end % 8)) - 1):
        raise FormatError("E_PADDING", "the unused bits of the last byte are not zero", offset=size - 1)
