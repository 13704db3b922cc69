"""CRC-32: the same as zlib.crc32, at memory speed where the processor and the native floor allow it."""

import zlib

import numpy as np

from featherweight.core.native import native

_FAST = getattr(native, "crc32", None)
_SHORT = 1 << 10  # bytes for which handing them over costs as much as it saves


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """The checksum of `data` behind what has the checksum `before`."""
    if _FAST is None or len(data) < _SHORT:
        return zlib.crc32(data, before)
    found: int = _FAST(np.frombuffer(data, np.uint8), before)
    return found
