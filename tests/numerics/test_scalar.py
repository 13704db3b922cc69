import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.numerics import scalar
from featherweight.numerics.magnitudes import HALVES, magnitudes
from featherweight.numerics.rate import ContextEntropy, Costs
from featherweight.numerics.rounding import BALANCE, cost_of, rate_rounded, rounded
from featherweight.numerics.scalar import LARGEST, Grid, bits_of, fitted

ONE = np.ones((1, 1), np.float32)
TYPES = (torch.float16, torch.bfloat16, torch.float32)


@pytest.fixture(params=native.isas() if native else ["none"])
def isa(request):
    if native is None:
        yield request.param
        return
    before = native.isa()
    native.use_isa(request.param)
    yield request.param
    native.use_isa(before)


def drawn(count=5000, seed=0, kind=torch.float32):
    """Normal with heavier tails."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, generator=generator, dtype=torch.float64)
    return (normal * torch.exp(0.5 * torch.randn(count, generator=generator, dtype=torch.float64))).to(kind)


def levels_of(symbols):
    wide = symbols.astype(np.int64)
    return np.where(wide % 2 == 1, -(wide + 1) // 2, wide // 2)


def table_of(levels):
    """The bits that a grid fitted to these levels would count."""
    return bits_of(np.bincount(np.abs(levels)).astype(np.float64))


def costs(bits, count):
    return Costs(np.zeros((1, count), np.uint8), bits.astype(np.float32)[None])


@pytest.mark.parametrize("step", [0.1, 0.6, 2.0])
@pytest.mark.parametrize("price", [0.0, BALANCE, 0.5, 2.0])
def test_thresholds_are_the_choice_of_the_least_sum(step, price):
    """The same levels as weighing the three candidates of each weight; equal sums aside, where either will do."""
    values = drawn().numpy()
    bits = table_of(rounded(values / np.float32(step)))
    grid = scalar._grid(step, price, bits)
    x = (values / np.float32(step))[None]
    wanted = rate_rounded(x, ONE, price, costs(bits, len(values)))
    found = levels_of(grid.symbols(torch.from_numpy(values), float(np.abs(values).max())))[None]
    assert (found != wanted).mean() < 1e-3
    weighed = [cost_of(x, each, ONE, price, costs(bits, len(values))) for each in (found.astype(np.int32), wanted)]
    assert weighed[0] == pytest.approx(weighed[1], rel=1e-6)


@pytest.mark.parametrize("price", [0.02, BALANCE, 0.4])
def test_close_to_the_best_of_all_levels(price):
    """Every level for every weight, with the bits that the grid was fitted to."""
    values = drawn(400, seed=3).double().numpy()
    known = magnitudes(torch.from_numpy(values).half())
    fit = fitted(known, 0.5, price)
    halves = torch.from_numpy(values).half()
    levels = levels_of(fit.grid.symbols(halves, known.largest))
    x, bits = np.abs(halves.double().numpy()) / 0.5, table_of(levels)
    every = (x[:, None] - np.arange(len(bits))) ** 2 + price * bits
    mine = every[np.arange(len(x)), np.abs(levels)].sum()
    assert every.min(axis=1).sum() <= mine <= 1.003 * every.min(axis=1).sum()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("step", [0.05, 0.5, 1.5])
def test_never_worse_than_plain_rounding(kind, step):
    values = drawn(40000, kind=kind)
    known = magnitudes(values)
    plain = rounded((values.float() / step).numpy())
    fit = fitted(known, step, BALANCE)
    found = levels_of(fit.grid.symbols(values, known.largest))
    x = values.double().numpy() / step

    def weighed(levels):
        return float(((x - levels) ** 2).sum()) + BALANCE * ContextEntropy().total(
            levels.reshape(1, -1).astype(np.int32)
        )

    assert weighed(found) < weighed(plain) * (1.0001 if step < 0.1 else 0.999)


@pytest.mark.parametrize("kind", TYPES)
def test_the_fit_tells_error_and_bits(kind):
    values = drawn(30000, kind=kind)
    known = magnitudes(values)
    fit = fitted(known, 0.4, BALANCE)
    levels = levels_of(fit.grid.symbols(values, known.largest))
    error = float(((values.double().numpy() / 0.4 - levels) ** 2).sum())
    counts = np.unique(np.abs(levels), return_counts=True)[1]
    bits = float((counts * np.log2(len(levels) / counts)).sum()) + np.count_nonzero(levels)
    assert fit.error == pytest.approx(error, rel=1e-3)
    assert fit.bits == pytest.approx(bits, rel=1e-2)


def test_no_price_is_plain_rounding():
    values = drawn()
    fit = fitted(magnitudes(values), 0.3, 0.0)
    assert np.array_equal(
        np.abs(levels_of(fit.grid.symbols(values, 99.0))), np.abs(rounded((values / np.float32(0.3)).numpy()))
    )


def test_larger_sizes_than_are_counted_are_rounded_to_the_nearest():
    values = torch.linspace(0, 3 * LARGEST, 5000)
    fit = fitted(magnitudes(values), 1.0, BALANCE)
    found = levels_of(fit.grid.symbols(values, 3.0 * LARGEST))
    above = values.numpy() > LARGEST + 2
    assert np.array_equal(found[above], np.rint(values.numpy()[above]))
    assert len(fit.grid.near) <= LARGEST + 3


def test_a_size_that_occurs_more_often_costs_less():
    bits = bits_of(np.array([50.0, 30.0, 0.0, 1.0]))
    assert bits[0] < bits[1] - 1 < bits[3] - 1 < bits[2] - 1
    assert float(2.0 ** -(bits[0]) + (2.0 ** -(bits[1:] - 1)).sum()) == pytest.approx(1.0)


# native code ---------------------------------------------------------------------------------------------------------


FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-3, 3, width=32),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 0.5, -0.5, 1.5, 2.5]),
)


@given(
    values=st.lists(FLOATS, max_size=45),
    step=st.floats(2**-20, 8, width=32),
    thresholds=st.lists(st.tuples(st.floats(-1, 6, width=32), st.floats(-1, 6, width=32)), max_size=9),
    bits=st.sampled_from([8, 16, 32]),
)
@settings(max_examples=120, deadline=None)
def test_native_code_gives_the_same_symbols(values, step, thresholds, bits):
    """For any thresholds, whether a grid has them or not."""
    if native is None:
        pytest.skip("the native part was not built")
    near = np.array([pair[0] for pair in thresholds] + [-np.inf], np.float32)
    zero = np.array([pair[1] for pair in thresholds] + [-np.inf], np.float32)
    near[0] = -np.inf
    grid = Grid(step, near, zero)
    given_values = np.array(values, np.float32)
    kind = {8: np.uint8, 16: np.uint16, 32: np.uint32}[bits]
    given_values[np.abs(given_values.astype(np.float64)) / step > (1 << (bits - 1)) - 2] = 0.0
    before = native.isa()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scalar, "native", None)
            wanted = grid._rounded(given_values, kind)
        for name in native.isas():
            native.use_isa(name)
            assert np.array_equal(grid._rounded(given_values, kind), wanted), name
    finally:
        native.use_isa(before)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 33, 1000, 70_001])
@pytest.mark.parametrize("step", [0.4, 0.01, 2.0**-16])
def test_a_tensor_is_rounded_the_same_without_native_code(isa, kind, count, step, monkeypatch):
    """Symbols of 8, 16 and 32 bits; the longest is looked up if it has 16 bits."""
    values = drawn(count, seed=count, kind=kind)
    values[: count // 5] = 0
    known = magnitudes(values)
    fit = fitted(known, step, BALANCE)
    fast = fit.grid.symbols(values, known.largest)
    monkeypatch.setattr(scalar, "native", None)
    slow = fit.grid.symbols(values, known.largest)
    assert fast.dtype == slow.dtype
    assert np.array_equal(fast, slow)
    sizes = fit.grid.sizes(values.float().numpy())
    assert np.array_equal(np.abs(levels_of(fast)), sizes)
    assert np.array_equal(np.sign(levels_of(fast)), np.sign(values.double().numpy()) * (sizes > 0))


@pytest.mark.parametrize("kind", HALVES)
def test_every_value_of_16_bits_is_looked_up_as_it_is_computed(kind):
    every = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16)).view(kind)
    values = every[torch.isfinite(every.float())].repeat(2)
    known = magnitudes(values)
    grid = fitted(known, known.largest / 1000, BALANCE).grid
    looked_up = grid.symbols(values, known.largest)
    assert np.array_equal(looked_up, grid.symbols(values.float(), known.largest))
    assert len(np.unique(looked_up)) > 100


@pytest.mark.parametrize("values", [[], [0.0, -0.0], [3.0], [2.5] * 9, [1e-45, 3e38], [1e-42] * 3])
@pytest.mark.parametrize("price", [0.0, BALANCE, 4.0])
def test_few_and_odd_values(isa, values, price):
    weight = torch.tensor(values)
    known = magnitudes(weight)
    step = max(known.largest / 1000, 1e-38)
    fit = fitted(known, step, price)
    levels = levels_of(fit.grid.symbols(weight, known.largest))
    assert len(levels) == len(values)
    assert np.isfinite(fit.error) and np.isfinite(fit.bits)
    assert np.all(np.abs(levels * step - weight.double().numpy()) <= (0.5 + price * 40) * step + 1e-3 * known.largest)


def test_symbols_have_the_smallest_type():
    grid = Grid(1.0, np.full(1, -np.inf, np.float32), np.full(1, -np.inf, np.float32))
    for size, kind in ((127.0, np.uint8), (128.0, np.uint16), (32767.0, np.uint16), (32768.0, np.uint32)):
        found = grid.symbols(torch.tensor([size, -size, 0.0]), size)
        assert found.dtype == kind
        assert levels_of(found).tolist() == [size, -size, 0]
