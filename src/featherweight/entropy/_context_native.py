"""Blocks of context_range coded natively: the same bytes and errors as `_context_reference.py`."""

from dataclasses import astuple
from typing import Any

import numpy as np

from featherweight.core.native import check_fault
from featherweight.core.native import native as _module
from featherweight.entropy._context_levels import Geometry
from featherweight.entropy.base import Symbols

native: Any = _module  # this file is used only where it is not None


def encode(symbols: Symbols, geometry: Geometry) -> bytes:
    """See _context_reference."""
    coded: bytes = native.context_encode(symbols, astuple(geometry))
    return coded


def decode(data: memoryview, geometry: Geometry, out: Symbols) -> None:
    """See _context_reference. Raises: FormatError (E_INDEX, E_DECODED_SIZE)."""
    check_fault(native.context_decode(np.frombuffer(data, np.uint8), out, astuple(geometry)))
