from dataclasses import dataclass
from typing import ClassVar

import pytest
from tests.recipes.conftest import one
from torch import nn

from featherweight.errors import GuardError
from featherweight.recipes.guard import ROUNDS, Trial, floor_of, hold
from featherweight.techniques.base import Technique


@dataclass(frozen=True, kw_only=True)
class Fine(Technique):
    strength: ClassVar[str | None] = "amount"
    gentle: ClassVar[float] = 1.0
    amount: float | str = 0.0

    def apply(self, model, context):
        return model


@dataclass(frozen=True, kw_only=True)
class Whole(Fine):
    amount: int = 0


@dataclass(frozen=True, kw_only=True)
class Rigid(Fine):
    strength: ClassVar[str | None] = None


class Step:
    """What the guard looks at of a recipe's step."""

    use, max_drop = "some.technique", 0.1

    def __init__(self, settings: Technique, required: bool = False) -> None:
        self.settings, self.required = settings, required


def trying(score):
    """An attempt whose score is a function of the strength; the model is a fresh one each time."""
    models = []

    def attempt(settings: Technique, number: int, floor: float) -> Trial:
        assert number == len(models)
        models.append(nn.Identity())
        return Trial(settings, score(settings.amount), models[-1], {"number": number})

    attempt.models = models
    return attempt


def test_a_step_that_costs_little_is_kept_as_asked() -> None:
    attempt = trying(lambda amount: 0.95)
    outcome = hold(Step(Fine(amount=0.2)), 1.0, 0.9, attempt)
    assert outcome.verdict.verdict == "kept"
    assert [(one.strength, one.score) for one in outcome.verdict.attempts] == [(0.2, 0.95)]
    assert outcome.trial.model is attempt.models[0]
    assert outcome.verdict.max_drop == 0.1


def test_the_bisection_finds_the_strongest_that_is_good_enough() -> None:
    attempt = trying(lambda amount: amount)  # enough from 0.9 up
    outcome = hold(Step(Fine(amount=0.0)), 1.0, 0.9, attempt)
    assert [one.strength for one in outcome.verdict.attempts] == [0.0, 0.5, 0.75, 0.875, 0.9375]
    assert outcome.verdict.verdict == "backed_off"
    assert outcome.trial.settings.amount == 0.9375
    assert outcome.trial.model is attempt.models[4]
    assert outcome.trial.details == {"number": 4}


def test_the_best_that_was_good_enough_is_kept_not_the_last() -> None:
    attempt = trying(lambda amount: 0.95 if amount >= 0.5 else 0.1)
    outcome = hold(Step(Fine(amount=0.0)), 1.0, 0.9, attempt)
    assert [one.strength for one in outcome.verdict.attempts] == [0.0, 0.5, 0.25, 0.375, 0.4375]
    assert outcome.trial.settings.amount == 0.5
    assert outcome.trial.model is attempt.models[1]


def test_whole_numbers_stay_whole_and_are_tried_once() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bits(Whole):
        gentle: ClassVar[float] = 8.0
        amount: int = 1

    attempt = trying(lambda amount: amount / 8)
    outcome = hold(Step(Bits(amount=2)), 1.0, 0.7, attempt)
    assert [one.strength for one in outcome.verdict.attempts] == [2, 5, 6]
    assert outcome.trial.settings.amount == 6
    assert all(type(one.strength) is int for one in outcome.verdict.attempts)


def test_a_strength_may_grow_towards_gentle_or_fall() -> None:
    step = one("fake.noise", amount=1.0)  # gentle: 0
    outcome = hold(step, 1.0, 0.9, lambda settings, number, floor: Trial(settings, 1 - settings.amount, nn.Identity()))
    assert outcome.trial.settings.amount == pytest.approx(0.0625)


@pytest.mark.parametrize("score", [0.2, None, float("nan")])
def test_what_never_is_good_enough_is_refused(score: float | None) -> None:
    attempt = trying(lambda amount: score)
    outcome = hold(Step(Fine(amount=0.0)), 1.0, 0.9, attempt)
    assert (outcome.verdict.verdict, outcome.trial) == ("refused", None)
    assert len(outcome.verdict.attempts) == ROUNDS + 1


@pytest.mark.parametrize("settings", [Rigid(), Fine(amount="by pattern"), Fine(amount=1.0)])
def test_without_a_number_to_lower_there_is_one_attempt(settings: Technique) -> None:
    outcome = hold(Step(settings), 1.0, 0.9, trying(lambda amount: 0.0))
    assert outcome.verdict.verdict == "refused"
    assert len(outcome.verdict.attempts) == 1


def test_a_required_step_ends_the_run() -> None:
    with pytest.raises(GuardError, match=r"some\.technique.*no strength of 5.*0\.9 or more.*0\.2"):
        hold(Step(Fine(amount=0.0), required=True), 1.0, 0.9, trying(lambda amount: 0.2))


@pytest.mark.parametrize(
    ("own", "whole", "floor"),
    [(None, None, None), (0.1, None, 0.7), (None, 0.3, 0.6), (0.1, 0.3, 0.7), (0.3, 0.1, 0.8)],
)
def test_the_stricter_of_step_and_recipe_counts(own, whole, floor) -> None:
    assert floor_of(one("fake.noise", own), whole, before=0.8, start=0.9) == (
        None if floor is None else pytest.approx(floor)
    )


def test_without_scores_nothing_is_guarded() -> None:
    assert floor_of(one("fake.noise", 0.1), 0.1, None, None) is None
