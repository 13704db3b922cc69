"""Values as one stream for each of their bytes and back, and whether all of them are finite.

Natively where that was built; the loops in numpy say which bytes are right.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.core.native import native
from featherweight.entropy.base import Symbols, Work

_CHUNK = 1 << 20  # values between two looks at the clock
_CACHED = 1 << 15  # values that numpy takes apart and puts together at a time: they stay in the cache
_EXPONENT = {
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float32: 0x7F800000,
    torch.float64: 0x7FF0000000000000,
    torch.float8_e4m3fn: 0x7F,
    torch.float8_e5m2: 0x7C,
}
"""Bits that a value has all of exactly if it is NaN or infinite."""
_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}


def apart(raw: NDArray[np.uint8], turned: bool) -> tuple[Symbols, ...]:
    """The columns of a matrix of bytes, shape (n, itemsize), lowest first; each value turned first where asked."""
    count, size = raw.shape
    values = np.ascontiguousarray(raw).view(f"<u{size}").reshape(-1)
    planes = tuple(np.empty(count, np.uint8) for _ in range(size))
    if native is not None and size > 1:
        native.planes_apart(values.astype(f"=u{size}", copy=False), turned, planes)
        return planes
    for start in range(0, count, _CACHED):
        part = values[start : start + _CACHED]
        if turned:
            part = (part << 1) | (part >> (8 * size - 1))
        for place, plane in enumerate(planes):
            plane[start : start + _CACHED] = part >> (8 * place)  # keeps the lowest byte
    return planes


def together(planes: Sequence[Symbols], turned: bool, work: Work) -> NDArray[np.uint8]:
    """The values of streams of n bytes each as bytes in the order of the machine, shape (n, planes)."""
    count, size = len(planes[0]), len(planes)
    values = np.empty(count, f"=u{size}")
    for start in range(0, count, _CHUNK):
        work.check()
        parts = [plane[start : start + _CHUNK] for plane in planes]
        if native is None:
            _together(parts, turned, values[start : start + _CHUNK])
        else:
            native.planes_together(parts, turned, values[start : start + _CHUNK])
    return values.view(np.uint8).reshape(count, size)


def _together(planes: Sequence[Symbols], turned: bool, values: Symbols) -> None:
    size = len(planes)
    for start in range(0, len(values), _CACHED):
        out = values[start : start + _CACHED]
        out[:] = planes[0][start : start + _CACHED]
        if turned:
            sign = out << (8 * size - 1)
            out >>= 1
            out |= sign
        for place, plane in enumerate(planes[1:], 1):
            part = plane[start : start + _CACHED].astype(values.dtype)
            part <<= 8 * place - turned
            out |= part


def surely_finite(last: Symbols, stored: torch.dtype, work: Work) -> bool:
    """Whether the last plane of turned values, their exponents, says that all are finite; False if in doubt."""
    size = stored.itemsize
    exponent = _EXPONENT.get(stored, 0) << 1
    if native is None or not exponent or exponent != exponent >> (8 * size - 8) << (8 * size - 8):
        return False  # the exponent lies in more planes than this one
    return not _any_full(native, last, exponent >> (8 * size - 8), work)


def is_finite(values: Tensor, work: Work) -> bool:
    """Whether no value (any type, any shape) is NaN or infinite."""
    if not values.is_floating_point():
        return True
    flat = values.detach().reshape(-1)
    if native is not None and flat.device.type == "cpu" and flat.dtype in _EXPONENT:
        bits = flat.contiguous().view(_UNSIGNED[flat.itemsize]).numpy()
        return not _any_full(native, bits, _EXPONENT[flat.dtype], work)
    for part in torch.split(flat, _CHUNK):
        work.check()
        # half precision holds all numbers of eight bits, and torch cannot ask those themselves
        if not bool(torch.isfinite(part.half() if part.itemsize == 1 else part).all()):
            return False
    return True


def _any_full(built: ModuleType, bits: NDArray[np.unsignedinteger[Any]], mask: int, work: Work) -> bool:
    for start in range(0, len(bits), _CHUNK):
        work.check()
        if built.any_full(bits[start : start + _CHUNK], mask):
            return True
    return False
