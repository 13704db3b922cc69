import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.numerics import magnitudes as room
from featherweight.numerics.magnitudes import HALVES, flat, magnitudes, words

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ODD = [0.0, -0.0, 1.0, -1.0, 6e-8, -6e-8, 1e-41, -3e-39, 65504.0, 3e38, -3e38, 2.0**-14]


def weights(kind, count=3001, seed=0):
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return finite(torch.cat([drawn, torch.tensor(ODD, dtype=torch.float64)]).to(kind))


def finite(values):
    return values.nan_to_num(0.0, 1.0, -1.0)


@pytest.mark.parametrize("kind", HALVES)
def test_sizes_of_16_bits_are_told_exactly(kind):
    values = weights(kind)
    found = magnitudes(values.reshape(-1, 1))
    sizes, counts = np.unique(values.double().abs().numpy(), return_counts=True)
    assert np.array_equal(found.sizes, sizes)
    assert np.array_equal(found.counts, counts)
    assert found.count == len(values)


@pytest.mark.parametrize("kind", TYPES)
def test_the_largest_and_the_energy_are_exact(kind):
    values = weights(kind)[:-3]
    found, wide = magnitudes(values), values.float().double()
    assert found.largest == float(wide.abs().max())
    assert found.energy == pytest.approx(float(wide.square().sum()), rel=1e-12)


def test_sizes_of_32_bits_are_told_to_a_fifth_of_a_percent():
    values = weights(torch.float32, 20000)[:-12]
    found = magnitudes(values)
    exact = np.sort(values.abs().double().numpy())
    assert np.repeat(found.sizes, found.counts) == pytest.approx(exact, rel=0.002)
    assert np.all(np.diff(found.sizes) > 0)


@given(bits=st.lists(st.integers(0, 2**32 - 1), max_size=70), kind=st.sampled_from(TYPES[:3]))
@settings(max_examples=60, deadline=None)
def test_native_code_counts_the_same(bits, kind):
    whole = torch.from_numpy(np.array(bits, np.uint32).view(np.int32))
    values = finite(whole.view(kind) if kind == torch.float32 else whole.to(torch.int16).view(kind))
    fast = magnitudes(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "native", None)
        slow = magnitudes(values)
    assert np.array_equal(fast.sizes, slow.sizes)
    assert np.array_equal(fast.counts, slow.counts)
    assert (fast.largest, fast.energy) == (slow.largest, slow.energy)
    assert fast.count == len(values)


@pytest.mark.parametrize("kind", TYPES)
def test_no_weights_and_zeros(kind):
    none = magnitudes(torch.empty(0, 3, dtype=kind))
    assert (none.count, none.largest, none.energy) == (0, 0.0, 0.0)
    zeros = magnitudes(torch.zeros(5, dtype=kind))
    assert (zeros.count, zeros.largest, zeros.energy) == (5, 0.0, 0.0)
    assert zeros.sizes.tolist() == pytest.approx([0.0], abs=1e-40)


def test_more_than_are_looked_at_together(monkeypatch):
    values = weights(torch.float32)
    whole = magnitudes(values)
    monkeypatch.setattr(room, "_CHUNK", 100)
    parts = magnitudes(values)
    assert np.array_equal(whole.counts, parts.counts)
    assert whole.largest == parts.largest


def test_values_in_their_own_type_and_their_bits():
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    assert words(flat(weight)).tolist() == [0x3F800000, 0xC0000000, 0x3F000000, 0]
    assert words(flat(weight.half().T)).tolist() == [0x3C00, 0x3800, 0xC000, 0]
    assert flat(weight.double()).dtype == torch.float32
