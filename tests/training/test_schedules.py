import math

import pytest

from featherweight.errors import UsageError
from featherweight.training.schedules import cosine, cubic


@pytest.mark.parametrize("schedule", [cosine, cubic])
def test_ends_are_met_and_the_way_is_monotone(schedule) -> None:
    values = [schedule(step, 11, 0.0, 0.9) for step in range(11)]
    assert values[0] == 0.0
    assert values[-1] == pytest.approx(0.9)
    assert values == sorted(values)


def test_middles() -> None:
    assert cosine(5, 11, 1.0, 0.0) == pytest.approx(0.5)
    assert cosine(1, 5, 1.0, 0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert cubic(5, 11, 0.0, 0.8) == pytest.approx(0.8 * (1 - 0.5**3))


def test_a_single_step_is_the_start() -> None:
    assert cosine(0, 1, 0.3, 0.0) == 0.3


@pytest.mark.parametrize(("step", "total"), [(0, 0), (-1, 5)])
def test_impossible_places_are_refused(step: int, total: int) -> None:
    with pytest.raises(UsageError, match=str(total)):
        cosine(step, total, 1.0, 0.0)
