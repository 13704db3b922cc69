import numpy as np
import pytest
import torch

from featherweight.core.native import native
from featherweight.encodings import _levels_native
from featherweight.encodings._levels import MAX_LEVEL, to_symbols
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.base import ALONE, Work
from featherweight.numerics import trellis

pytestmark = pytest.mark.skipif(native is None, reason="the native part was not built")

TYPES = (torch.float32, torch.float16, torch.bfloat16)
LARGEST = (1, 100, 30_000, MAX_LEVEL)  # symbols of 8, 16 and 32 bits
SHAPES = ((1,), (7,), (3, 1), (5, 9), (2, 8), (40, 25), (7, 3, 5, 5), (3, 333))


@pytest.fixture(params=native.isas() if native else [])
def isa(request):
    before = native.isa()
    native.use_isa(request.param)
    yield request.param
    native.use_isa(before)


def some_levels(shape, largest):
    levels = np.random.default_rng(len(shape)).integers(-largest, largest + 1, shape, np.int64).astype(np.int32)
    levels.reshape(-1)[-1] = largest
    return levels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", LARGEST)
def test_multiples_are_those_of_the_reference(isa, shape, largest):
    levels = some_levels((shape[0], int(np.prod(shape[1:]))), largest)
    columns = levels.shape[1]
    wanted = {0: levels, columns: trellis.multiples(levels), levels.size: trellis.multiples(levels.reshape(1, -1))}
    for period, multiples in wanted.items():
        for kept in (levels.reshape(-1), to_symbols(levels.reshape(-1))):
            found = _levels_native.multiples(native, kept, period, ALONE)
            assert np.array_equal(found, multiples.reshape(-1))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", LARGEST)
def test_weights_are_those_of_torch_bit_for_bit(isa, shape, largest, kind, monkeypatch):
    levels = torch.from_numpy(some_levels(shape, largest))
    for steps in (torch.tensor([0.37]), torch.rand(shape[0]) + 0.01):
        for dependent, continued in ((False, False), (True, False), (True, True)):
            kept = Uniform(levels, steps.to(kind), dependent, continued)
            fast = kept.decoded()
            assert "multiples" not in vars(kept)
            monkeypatch.setattr("featherweight.encodings.uniform.native", None)
            slow = Uniform(levels, steps.to(kind), dependent, continued).decoded()
            monkeypatch.undo()
            assert fast.dtype == slow.dtype == kind
            assert torch.equal(fast, slow)
            _ = kept.multiples
            assert torch.equal(kept.decoded(), slow)


def test_the_trellis_runs_on_between_looks_at_the_clock(isa, monkeypatch):
    looks = []
    levels = some_levels((3, 1234), 50)
    symbols = to_symbols(levels.reshape(-1))
    monkeypatch.setattr(_levels_native, "_CHUNK", 100)
    work = Work(check=lambda: looks.append(1))
    for period, reference in ((1234, levels), (3702, levels.reshape(1, -1))):
        wanted = trellis.multiples(reference).reshape(-1)
        assert np.array_equal(_levels_native.multiples(native, symbols, period, work), wanted)
        for kind in TYPES:
            values = _levels_native.values(native, symbols, period, torch.tensor([0.25], dtype=kind), work)
            assert torch.equal(values, torch.from_numpy(wanted).float().mul(0.25).to(kind))
    assert len(looks) == 2 * 4 * 38
