import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.report.scale import Bytes, Linear, Scores
from featherweight.report.text import MINUS


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_linear_scale_holds_all_its_values(values):
    scale = Linear.around(values, least=0.01)
    assert all(-1e-9 <= scale.at(value) <= 1 + 1e-9 for value in values)
    assert scale.high - scale.low >= 0.01 - 1e-9


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_linear_ticks_are_few_and_inside(low, span):
    ticks = Linear(low, low + span).ticks()
    assert 1 <= len(ticks) <= 12
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_linear_ticks_are_round():
    assert Linear(0.978, 0.996).ticks(4) == pytest.approx([0.98, 0.985, 0.99, 0.995])


def test_a_scale_without_values_or_span_still_works():
    assert Linear.around([], least=1.0).high > Linear.around([], least=1.0).low
    assert Linear(2.0, 2.0).at(2.0) == 0.5
    assert Linear.around([math.nan, math.inf], least=1.0).at(0.5) == pytest.approx(0.5)


@given(st.lists(st.integers(0, 10**13), max_size=20))
def test_a_byte_scale_holds_all_values_and_has_ticks_inside(values):
    scale = Bytes.around(values)
    assert all(0 <= scale.at(value) <= 1 for value in values)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_byte_ticks_are_powers_of_a_thousand_where_those_suffice():
    assert Bytes(500, 4_000_000_000).ticks() == [1_000, 1_000_000, 1_000_000_000]
    assert Bytes(40, 2_000_000).ticks() == [100, 1_000, 10_000, 100_000, 1_000_000]
    assert len(Bytes(900, 5_000).ticks()) >= 2


def test_scores_between_0_and_1_are_percentages_and_others_are_numbers():
    shares, losses = Scores.of([0.98, 0.99]), Scores.of([-1.5, 0.3])
    assert shares.text(0.9912) == "99.12 %"
    assert shares.change(0.9921, 0.9912) == f"{MINUS}0.09"
    assert losses.text(-1.5) == "-1.5"
    assert losses.change(0.3, 0.25) == f"{MINUS}0.05"
    assert (shares.unit, losses.unit) == ("points", "score")
    assert shares.text(None) == shares.text(math.nan) == shares.change(None, 1.0) == "—"


def test_score_ticks_have_the_digits_their_step_needs():
    labels = [label for _, label in Scores(True).ticks(Linear(0.978, 0.996))]
    assert labels == ["98.0 %", "98.5 %", "99.0 %", "99.5 %"]
    assert all(float(label[:-2]) <= 100 for _, label in Scores(True).ticks(Linear(0.9, 1.1)))
