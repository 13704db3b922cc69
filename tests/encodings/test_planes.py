"""Planes of bytes: the numpy way, the native way with every instruction set, and what torch says."""

import numpy as np
import pytest
import torch

from featherweight.core.native import native as built
from featherweight.encodings import _planes
from featherweight.encodings.dense import Dense
from featherweight.entropy.base import ALONE, Work
from featherweight.errors import FormatError

COUNTS = (0, 1, 31, 32, 33, 1000, 40_000)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
needs_native = pytest.mark.skipif(built is None, reason="the native part was not built")


@pytest.fixture(params=["numpy", *(built.isas() if built is not None else ())])
def way(request, monkeypatch):
    """Each way of doing it in turn."""
    if request.param == "numpy" or built is None:
        monkeypatch.setattr(_planes, "native", None)
        yield
        return
    before = built.isa()
    assert built.use_isa(request.param)
    yield
    built.use_isa(before)


def some_bytes(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(count + size).integers(0, 256, (count, size), dtype=np.uint8)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("count", COUNTS)
def test_planes_are_the_bytes_of_the_values(way, count, size):
    raw = some_bytes(count, size)
    planes = _planes.apart(raw, turned=False)
    assert all((plane == raw[:, place]).all() for place, plane in enumerate(planes))
    assert (_planes.together(planes, False, ALONE) == raw).all()


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("count", COUNTS)
def test_turned_planes_have_the_sign_as_their_lowest_bit(way, count, size):
    raw = some_bytes(count, size)
    planes = _planes.apart(raw, turned=True)
    values = [int.from_bytes(row.tobytes(), "little") for row in raw]
    for place, plane in enumerate(planes):
        turned = [((value << 1) | (value >> (8 * size - 1))) >> (8 * place) & 0xFF for value in values]
        assert plane.tolist() == turned
    assert (_planes.together(planes, True, ALONE) == raw).all()


def test_planes_may_lie_where_nothing_can_be_written(way):
    planes = tuple(np.frombuffer(bytes(range(64)), np.uint8) for _ in range(2))
    assert _planes.together(planes, True, ALONE).shape == (64, 2)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_is_finite_says_of_every_half_what_torch_says(way, dtype):
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    if dtype.itemsize == 1:
        values = bits[:256].to(torch.uint8).view(dtype)
    elif dtype.itemsize == 2:
        values = bits.view(dtype)
    else:  # all halves with their sign and exponent, in a wider type
        values = bits.view(torch.bfloat16).to(dtype)
    wanted = torch.isfinite(values.float())
    for place in range(0, len(values), 1 if dtype.itemsize == 1 else 97):
        assert _planes.is_finite(values[place], ALONE) == bool(wanted[place])
    assert _planes.is_finite(values[wanted], ALONE)
    assert not _planes.is_finite(values, ALONE)


def test_whole_numbers_and_nothing_are_finite(way):
    assert _planes.is_finite(torch.full((3,), -1), ALONE)
    assert _planes.is_finite(torch.ones(3, dtype=torch.bool), ALONE)
    assert _planes.is_finite(torch.empty(0, 4), ALONE)


def test_is_finite_looks_at_values_that_do_not_lie_in_a_row(way):
    values = torch.zeros(6, 4)
    values[3, 1] = float("inf")
    assert not _planes.is_finite(values.T, ALONE)
    assert _planes.is_finite(values[:, ::2], ALONE)


def test_a_deadline_is_looked_at_in_the_middle(way):
    def late() -> None:
        raise FormatError("E_DEADLINE", "too late")

    work = Work(check=late)
    with pytest.raises(FormatError, match="too late"):
        _planes.together((np.zeros(4, np.uint8),) * 2, False, work)
    with pytest.raises(FormatError, match="too late"):
        _planes.is_finite(torch.zeros(4), work)


@needs_native
def test_native_takes_no_planes_of_other_lengths():
    out = np.zeros(4, np.uint16)
    for planes in (
        [np.zeros(4, np.uint8)],
        [np.zeros(4, np.uint8), np.zeros(3, np.uint8)],
        [np.zeros(4, np.uint8)] * 3,
    ):
        with pytest.raises(ValueError, match="plane"):
            built.planes_together(planes, False, out)
        with pytest.raises(ValueError, match="plane"):
            built.planes_apart(out, False, planes)
    with pytest.raises(ValueError, match="no bits"):
        built.any_full(out, 0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("strange", [None, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", [0, 4321, -1])
def test_exponents_tell_whether_all_are_finite(kind, strange, place):
    values = torch.linspace(-60_000, 60_000, 5000).to(kind)
    if strange is not None:
        values[place] = strange
    planes = _planes.apart(values.view(torch.uint8).numpy().reshape(-1, kind.itemsize), True)
    sure = built is not None and strange is None and kind != torch.float64  # whose exponent takes two planes
    assert _planes.surely_finite(planes[-1], kind, ALONE) == sure
    assert _planes.is_finite(values, ALONE) == (strange is None)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_what_reading_found_out_is_told_once(kind):
    values = torch.randn(5000).to(kind)
    dense = Dense(values)
    read = Dense.unpack((5000,), dense.pack(next(form for form in dense.forms() if form >= 512)))
    assert read.finite
    read.values[7] = float("nan")
    assert not read.finite
    read = Dense.unpack((5000,), Dense(read.values).pack(next(form for form in dense.forms() if form >= 512)))
    assert not read.finite
