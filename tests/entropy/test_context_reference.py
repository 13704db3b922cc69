import numpy as np
import pytest

from featherweight.entropy import _context_reference as reference
from featherweight.entropy._context_levels import BITS, CLASSES, LEVELS, Geometry
from featherweight.errors import FormatError

SYMBOLS = (np.arange(60, dtype=np.uint8) ** 2 % 23).astype(np.uint8)
GEOMETRIES = {
    "levels": Geometry(LEVELS, 23, columns=20, kernel=4, width=2, trellis=20, flat=False, mean=9000),
    "bits": Geometry(BITS, 2, columns=20, mean=4096),
    "classes": Geometry(CLASSES, 23),
}


def symbols_of(name):
    return SYMBOLS % 2 if name == "bits" else SYMBOLS


def decoded(data, geometry, count=60):
    out = np.zeros(count, np.uint8)
    reference.decode(memoryview(data), geometry, out)
    return out


@pytest.mark.parametrize("name", GEOMETRIES)
def test_round_trip(name):
    data = reference.encode(symbols_of(name), GEOMETRIES[name])
    assert np.array_equal(decoded(data, GEOMETRIES[name]), symbols_of(name))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("count", [1, 59, 61, 200])
def test_another_count(name, count):
    """The symbols that there are come first; then the end is not where it has to be, or a symbol is none.

    One symbol more may just fit into the last byte: then this is what all of them code to.
    """
    data = reference.encode(symbols_of(name), GEOMETRIES[name])
    try:
        found = decoded(data, GEOMETRIES[name], count)
    except FormatError as error:
        assert error.code in ("E_DECODED_SIZE", "E_INDEX")
        assert error.offset <= len(data)
    else:
        assert count == 61
        assert np.array_equal(found[:60], symbols_of(name))
        assert reference.encode(found, GEOMETRIES[name]) == data


@pytest.mark.parametrize("kind", [LEVELS, CLASSES])
def test_a_foreign_symbol(kind):
    wide, narrow = Geometry(kind, 23, columns=60), Geometry(kind, 22, columns=60)
    data = reference.encode(np.full(60, 22, np.uint8), wide)
    with pytest.raises(FormatError) as caught:
        decoded(data, narrow)
    assert (caught.value.code, caught.value.value) == ("E_INDEX", 22)


def test_symbols_and_levels():
    assert [reference._level_of(symbol) for symbol in (0, 1, 2, 3, 4, 2**32 - 1)] == [0, -1, 1, -2, 2, -(2**31)]
    assert all(reference._symbol_of(reference._level_of(symbol)) == symbol for symbol in (0, 1, 2, 3, 9, 2**32 - 1))
