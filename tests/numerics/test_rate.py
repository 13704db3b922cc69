import numpy as np
import pytest

from featherweight.numerics.rate import LARGEST, ContextEntropy, Costs, surroundings


def drawn(scale, shape=(300, 200), seed=0):
    return np.rint(np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.int32)


def entropy(levels):
    counts = np.unique(levels, return_counts=True)[1].astype(float)
    return float((counts * np.log2(counts.sum() / counts)).sum())


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_levels_that_are_independent_cost_their_entropy(scale):
    levels = drawn(scale)
    assert ContextEntropy().total(levels) == pytest.approx(entropy(levels), rel=0.02)


def test_levels_whose_size_depends_on_the_place_cost_less():
    scales = np.repeat([0.3, 6.0], 150)[:, None]
    levels = np.rint(np.random.default_rng(1).standard_normal((300, 200)) * scales).astype(np.int32)
    assert ContextEntropy().total(levels) < 0.93 * entropy(levels)


def test_the_costs_of_what_was_counted_add_up_to_the_total():
    levels, model = drawn(2.0), ContextEntropy()
    told = float(model.costs(levels).bits(np.abs(levels)).sum(dtype=np.float64))
    assert told == pytest.approx(model.total(levels), rel=0.02)


def test_zeros_cost_next_to_nothing_and_nothing_is_impossible():
    model, zeros = ContextEntropy(), np.zeros((50, 60), np.int32)
    assert model.total(zeros) < 10
    assert np.isfinite(model.costs(zeros).bits(zeros + 700)).all()


def test_larger_levels_than_any_that_was_counted_cost_more():
    costs = ContextEntropy().costs(drawn(1.0))
    bits = [float(costs.bits(np.full((300, 200), size, np.int32))[9, 9]) for size in (4, 40, LARGEST, 4 * LARGEST)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]
    assert ContextEntropy().total(np.array([[10 * LARGEST]], np.int32)) > 6


def test_surroundings_are_left_and_above_only():
    levels = drawn(3.0, (6, 7))
    changed = levels.copy()
    changed[3, 4:] += 5
    changed[4:] -= 5
    assert np.array_equal(surroundings(levels)[:3], surroundings(changed)[:3])
    assert np.array_equal(surroundings(levels)[3, :5], surroundings(changed)[3, :5])
    assert not np.array_equal(surroundings(levels)[3:], surroundings(changed)[3:])
    assert surroundings(levels)[0, 0] == 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_small_matrices(shape):
    levels = np.ones(shape, np.int32)
    assert surroundings(levels).shape == shape
    assert ContextEntropy().total(levels) >= 0


def test_costs_by_class_and_size():
    costs = Costs(np.array([[0, 1]], np.uint8), np.array([[1, 2], [3, 4]], np.float32))
    assert costs.bits(np.array([[0, 1]], np.int32)).tolist() == [[1, 4]]
    assert costs.bits(np.array([[2, 4]], np.int32)).tolist() == [[4, 8]]


def test_a_coder_that_knows_the_grid_takes_fewer_bits():
    odd = (np.arange(300 * 200).reshape(300, 200) % 3 == 0).astype(np.int8)
    levels = np.where(odd, drawn(0.4), drawn(2.0, seed=1))
    model = ContextEntropy()
    assert model.total(levels, odd) < 0.9 * model.total(levels)
    costs = model.costs(levels, odd)
    told = np.where(odd, costs.on(1).bits(np.abs(levels)), costs.on(0).bits(np.abs(levels))).sum(dtype=np.float64)
    assert told == pytest.approx(model.total(levels, odd), rel=0.02)
    plain = model.costs(levels)
    assert plain.on(1) is plain
