"""Blocks of context_range coded natively: the same bytes and errors as `_context_reference.py`."""

from dataclasses import astuple

import numpy as np

from featherweight.core.native import check_fault, native
from featherweight.entropy._context_levels import Geometry
from featherweight.entropy.base import Symbols


def encode(symbols: Symbols, geometry: Geometry) -> bytes:
    """See _context_reference."""
    coded: bytes = native.context_encode(symbols, *astuple(geometry))  # type: ignore[union-attr]  # chosen only where it is there
    return coded


def decode(data: memoryview, geometry: Geometry, out: Symbols) -> None:
    """See _context_reference. Raises: FormatError (E_INDEX, E_DECODED_SIZE)."""
    check_fault(native.context_decode(np.frombuffer(data, np.uint8), out, *astuple(geometry)))  # type: ignore[union-attr]  # as above
