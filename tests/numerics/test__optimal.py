import itertools

import numpy as np
import pytest

from featherweight.numerics._optimal import optimal_starts


def totals(values, weights):
    terms = np.stack([weights, weights * values, weights * values**2])
    return np.concatenate([np.zeros((3, 1)), np.cumsum(terms, 1)], 1)


def cost(values, weights, starts):
    error = 0.0
    for start, end in itertools.pairwise([*starts, len(values)]):
        part, mass = values[start:end], weights[start:end]
        error += float((mass * (part - np.average(part, weights=mass)) ** 2).sum())
    return error


@pytest.mark.parametrize("intervals", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("seed", range(4))
def test_no_split_is_better(seed, intervals):
    random = np.random.default_rng(seed)
    values = np.sort(random.normal(size=9)) + 5.0  # far from zero: the totals are centred before they are subtracted
    weights = random.integers(1, 6, 9).astype(float)
    starts = optimal_starts(totals(values, weights), intervals)
    every = ([0, *rest] for rest in itertools.combinations(range(1, 9), intervals - 1))
    assert starts[0] == 0
    assert len(starts) == intervals
    assert (np.diff(starts) > 0).all()
    assert cost(values, weights, starts) == pytest.approx(min(cost(values, weights, s) for s in every), abs=1e-9)


def test_a_weight_is_as_many_equal_points():
    values, weights = np.array([0.0, 1.0, 3.0, 4.0, 9.0]), np.array([5.0, 1.0, 2.0, 7.0, 1.0])
    repeated = np.repeat(values, weights.astype(int))
    single = optimal_starts(totals(repeated, np.ones(len(repeated))), 3)
    assert values[optimal_starts(totals(values, weights), 3)].tolist() == repeated[single].tolist()
