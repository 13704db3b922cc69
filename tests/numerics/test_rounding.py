import numpy as np
import pytest

from featherweight.numerics import trellis
from featherweight.numerics.rate import ContextEntropy
from featherweight.numerics.rounding import (
    BALANCE,
    DEPENDENT_BALANCE,
    cost_of,
    dependent_quantized,
    quantized,
    rate_rounded,
    rounded,
)

ONE = np.ones((1, 1), np.float32)
MODEL = ContextEntropy()


def weights(shape=(60, 400), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def entropy(levels):
    counts = np.unique(levels, return_counts=True)[1].astype(float)
    return float((counts * np.log2(counts.sum() / counts)).sum() / levels.size)


@pytest.mark.parametrize("step", [0.2, 0.7, 2.0, 5.0])
@pytest.mark.parametrize("price", [0.0, 0.02, BALANCE, 1.0])
def test_the_cost_is_never_larger_than_that_of_plain_rounding(step, price):
    """Catalogue, B16, check e."""
    x = weights() / step
    importance = np.random.default_rng(1).random(x.shape).astype(np.float32) * 3
    plain = rounded(x)
    costs = MODEL.costs(plain)
    chosen = rate_rounded(x, importance, price, costs)
    assert cost_of(x, chosen, importance, price, costs) <= cost_of(x, plain, importance, price, costs) * (1 + 1e-6)
    if price == 0:
        assert np.array_equal(chosen, plain)


@pytest.mark.parametrize("dependent", [False, True])
def test_a_higher_price_gives_fewer_bits_and_more_error(dependent):
    """Catalogue, B16, check e."""
    x = weights() / 0.6
    bits, errors = [], []
    for price in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
        if dependent:
            levels = dependent_quantized(x, ONE, price, MODEL)
            values = trellis.multiples(levels)
        else:
            values = levels = quantized(x, ONE, price, MODEL)
        bits.append(MODEL.total(levels))
        errors.append(float(((values - x) ** 2).sum()))
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert bits[-1] < 0.9 * bits[0]


def test_the_trellis_gains_most_of_a_decibel_over_a_grid_of_the_same_rate():
    """Catalogue, B16, check d and fixture: error 0.02677 at step 0.35. With the bits of a coder that tells odd states
    from even ones; one that tells all eight apart reaches 0.94 dB."""
    w = weights((20, 1000))
    levels = dependent_quantized(w / np.float32(0.35), ONE, 0.0, MODEL)
    error = float(((trellis.multiples(levels) * 0.35 - w) ** 2).mean())
    odd = trellis.odd_states(levels) == 1
    bits = entropy(levels[odd]) * odd.mean() + entropy(levels[~odd]) * (1 - odd.mean())
    assert error == pytest.approx(0.02677, rel=0.03)
    steps = np.linspace(0.5, 0.8, 31)
    rates = [entropy(rounded(w / np.float32(step))) for step in steps]
    same = float(np.interp(-bits, -np.array(rates), steps))
    plain = float(((rounded(w / np.float32(same)) * same - w) ** 2).mean())
    assert 10 * np.log10(plain / error) > 0.8


def test_viterbi_finds_the_cheapest_path():
    """Every path of short rows, tried one by one."""
    x = weights((6, 4), seed=3) * 2
    importance = np.random.default_rng(4).random(x.shape).astype(np.float32) + 0.2
    costs = MODEL.costs(rounded(weights((6, 4), seed=5) * 2))
    for price in (0.0, 0.2):
        found = trellis.search(x, importance, price, costs)
        every = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 4, indexing="ij"), -1).reshape(-1, 4).astype(np.int32)
        values = trellis.multiples(every)
        for row in range(6):
            classes = np.broadcast_to(costs.classes[row], every.shape)
            bits = costs.at(classes, np.abs(every)).sum(axis=1)
            cost = (importance[row] * (x[row] - values) ** 2).sum(axis=1) + price * bits
            mine = int(np.flatnonzero((every == found[row]).all(axis=1))[0])
            assert cost[mine] <= cost.min() + 1e-4


def test_more_important_weights_keep_more():
    x = weights() / 2
    importance = np.ones_like(x)
    importance[:, ::2] = 20
    levels = quantized(x, importance, BALANCE, MODEL)
    errors = (x - levels) ** 2
    assert errors[:, ::2].mean() < 0.9 * errors[:, 1::2].mean()


@pytest.mark.parametrize("step", [0.05, 0.1])
def test_entropy_coded_rounding_is_a_quarter_bit_from_the_bound(step):
    """Catalogue, B19 and D1: 0.2549 bit above the rate-distortion function of a Gaussian at a high rate."""
    w = weights((500, 400))
    levels = rounded(w / np.float32(step))
    error = float(((levels * step - w) ** 2).mean())
    assert entropy(levels) - 0.5 * np.log2(1 / error) == pytest.approx(0.2549, abs=0.01)


def test_at_balance_pressing_the_rate_pays():
    """J over rate and error in true units: rounding with the rate in mind beats a coarser plain grid."""
    w = weights((200, 400))
    pressed = quantized(w / 1.2, ONE, BALANCE, MODEL)
    error, bits = float(((pressed * 1.2 - w) ** 2).mean()), MODEL.total(pressed)
    steps = np.linspace(1.2, 2.0, 33)
    rates = [MODEL.total(rounded(w / np.float32(step))) for step in steps]
    same = float(np.interp(-bits, -np.array(rates), steps))
    assert error < float(((rounded(w / np.float32(same)) * same - w) ** 2).mean())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_small_matrices(shape):
    x = weights(shape)
    assert quantized(x, ONE, BALANCE, MODEL).shape == shape
    assert dependent_quantized(x, ONE, DEPENDENT_BALANCE, MODEL).shape == shape
