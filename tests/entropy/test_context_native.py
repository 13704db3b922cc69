"""The native way against the reference, block by block; streams are compared in test_context_range.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy import _context_native, _context_reference
from featherweight.entropy._context_coder import Encoder
from featherweight.entropy._context_levels import BITS, CLASSES, LEVELS, Geometry, Levels
from featherweight.errors import FormatError

pytestmark = pytest.mark.skipif(native is None, reason="native/ is not built or is switched off")


@st.composite
def geometries(draw):
    columns = draw(st.integers(1, 40))
    kernel = draw(st.integers(1, columns))
    kind = draw(st.sampled_from([LEVELS, BITS, CLASSES]))
    return Geometry(
        kind,
        2 if kind == BITS else draw(st.sampled_from([2, 3, 50, 256, 5000, 1 << 32])),
        columns=columns,
        kernel=kernel,
        width=draw(st.integers(1, kernel)),
        trellis=draw(st.integers(0, 50)),
        flat=draw(st.booleans()),
        mean=draw(st.integers(0, 39).map(lambda bit: 1 << bit)),
    )


def symbol_type(geometry):
    return np.min_scalar_type(geometry.alphabet - 1)


def outcome(way, data, geometry, count):
    out = np.zeros(count, symbol_type(geometry))
    try:
        way.decode(memoryview(data), geometry, out)
    except FormatError as error:
        return error.code, error.offset
    return out.tolist()


@given(geometries(), st.lists(st.integers(0, 5) | st.integers(0, (1 << 32) - 1), min_size=1, max_size=90))
def test_any_geometry(geometry, numbers):
    """Also those that no tensor gives: kernels that do not divide a row, rows that a trellis does not end with."""
    symbols = np.array([number % geometry.alphabet for number in numbers], symbol_type(geometry))
    data = _context_reference.encode(symbols, geometry)
    assert _context_native.encode(symbols, geometry) == data
    for way in (_context_reference, _context_native):
        assert outcome(way, data, geometry, len(symbols)) == symbols.tolist()


@given(geometries(), st.binary(max_size=60), st.integers(1, 120))
def test_any_bytes(geometry, data, count):
    found = outcome(_context_native, data, geometry, count)
    assert found == outcome(_context_reference, data, geometry, count)
    if isinstance(found, list):
        assert _context_native.encode(np.array(found, symbol_type(geometry)), geometry) == data


@given(geometries(), st.integers(0, 255), st.integers(0, 30), st.binary(max_size=3))
def test_bytes_that_are_all_the_same(geometry, fill, count, end):
    data = bytes([fill] * count) + end
    assert outcome(_context_native, data, geometry, 50) == outcome(_context_reference, data, geometry, 50)


@pytest.mark.parametrize("kernel", [1, 2])
@pytest.mark.parametrize("level", [2**31, 2**31 + 5, -(2**31) - 1, 2**40])
def test_a_level_that_no_symbol_stands_for(kernel, level):
    """Both see it at once, at the same place, and not only where it would be a symbol."""
    geometry = Geometry(LEVELS, 1 << 32, columns=40, kernel=kernel, flat=False, mean=1 << 30)
    encoder = Encoder()
    Levels(encoder, geometry).row([5, 0, level])
    data = encoder.finish()
    found = outcome(_context_reference, data, geometry, 40)
    assert found[0] == "E_INDEX"
    assert outcome(_context_native, data, geometry, 40) == found
    fine = Levels(Encoder(), geometry)
    fine.row([2**31 - 1, -(2**31)])
    assert not fine.broken


def test_wrong_calls_are_refused():
    """What only a mistake of ours can ask for."""
    symbols, right = np.zeros(4, np.uint8), (0, 9, 4, 1, 1, 0, True, 1)
    assert native.context_encode(symbols, right) == b"\x01"
    wrong = [(3, 9, 4, 1, 1, 0, True, 1), (0, 1, 4, 1, 1, 0, True, 1), (0, 9, 0, 1, 1, 0, True, 1)]
    wrong += [(0, 9, 4, 5, 1, 0, True, 1), (0, 9, 4, 2, 3, 0, True, 1), (0, 9, 4, 1, 1, 0, True, 0)]
    wrong += [(0, (1 << 32) + 1, 4, 1, 1, 0, True, 1), (0, 9, 4, 1, 1, 0, True, 1 << 41)]
    for geometry in wrong:
        with pytest.raises(ValueError, match="geometry"):
            native.context_encode(symbols, geometry)
        with pytest.raises(ValueError, match="geometry"):
            native.context_decode(np.zeros(1, np.uint8), symbols, geometry)
    with pytest.raises(ValueError, match="alphabet does not fit"):
        native.context_decode(np.zeros(1, np.uint8), symbols, (0, 257, 4, 1, 1, 0, True, 1))
    with pytest.raises(ValueError, match="uint8"):
        native.context_encode(np.zeros(4, np.uint64), right)
