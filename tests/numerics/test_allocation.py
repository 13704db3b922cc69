import math

import pytest

from featherweight.errors import TechniqueError
from featherweight.numerics.allocation import ROUNDS, price_for


def model(bits, calls):
    """A million weights that lose half a bit each time the price doubles, down to nothing."""

    def size(price):
        calls.append(price)
        return 125_000 * max(bits - 0.5 * math.log2(price), 0.0)

    return size


@pytest.mark.parametrize("budget", [1_000, 50_000, 250_000, 900_000])
@pytest.mark.parametrize("start", [1e-9, 1e-3, 1.0, 1e6])
def test_the_budget_is_met_closely(budget, start):
    calls = []
    price = price_for(budget, model(3.0, calls), start, 1_000_000)
    size = model(3.0, [])(price)
    assert size <= budget
    assert size >= 0.97 * budget
    assert len(calls) <= ROUNDS


def test_a_size_that_jumps():
    price = price_for(300_000, lambda price: 500_000 if price < 0.3 else 200_000, 1.0, 1_000_000)
    assert price >= 0.3


def test_a_size_that_no_price_gives():
    with pytest.raises(TechniqueError, match="no step"):
        price_for(100, lambda price: 5_000.0, 1.0, 1_000)
