"""The accuracy guard: a step that costs more than it may is made gentler, or left out."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from featherweight.errors import GuardError
from featherweight.recipes.ledger import Attempt, Verdict
from featherweight.recipes.recipe import Step
from featherweight.techniques.base import Technique

ROUNDS = 4  # bisections after the first attempt: the strength is found to a sixteenth of the range


@dataclass(frozen=True)
class Trial:
    """A step done once. `score` is None when the model gives no numbers any more.

    `model` may be missing when the score is known from an earlier sitting and is not good enough. `details` are what
    the technique recorded.
    """

    settings: Technique
    score: float | None
    model: nn.Module | None = None
    details: dict[str, Any] = field(default_factory=dict)


Try = Callable[[Technique, int, float], Trial]
"""Does the step on a copy of the model: (settings, number of the attempt, lowest score that is enough) -> Trial."""


@dataclass(frozen=True)
class Outcome:
    """What is left of a guarded step; `trial` is None when the step is refused."""

    trial: Trial | None
    verdict: Verdict


def floor_of(step: Step, whole: float | None, before: float | None, start: float | None) -> float | None:
    """The lowest score that the step may leave; None when nothing guards it.

    `whole` is the recipe's max_drop; `before` and `start` are the scores before the step and before the recipe.
    """
    floors = []
    if step.max_drop is not None and before is not None:
        floors.append(before - step.max_drop)
    if whole is not None and start is not None:
        floors.append(start - whole)
    return max(floors) if floors else None


def hold(step: Step, before: float, floor: float, attempt: Try) -> Outcome:
    """Does the step as asked; where the score falls below `floor`, as hard as a bisection finds it can be done.

    The bisection runs on the technique's strength field, between what was asked and its `gentle` value, which stands
    for "changes nothing" and is not tried. Whole numbers stay whole.

    Raises: GuardError for a required step that no strength satisfies.
    """
    asked = _strength(step.settings)
    first = attempt(step.settings, 0, floor)
    attempts = [Attempt(asked, first.score)]
    if _enough(first, floor):
        return Outcome(first, _verdict(before, floor, "kept", attempts))
    best: Trial | None = None
    gentle, hard = float(type(step.settings).gentle), asked
    while hard is not None and len(attempts) <= ROUNDS:
        middle = _between(step.settings, gentle, hard)
        if middle is None:
            break
        trial = attempt(_with_strength(step.settings, middle), len(attempts), floor)
        attempts.append(Attempt(middle, trial.score))
        if _enough(trial, floor):
            best, gentle = trial, middle
        else:
            hard = middle
    if best is None and step.required:
        raise _unsatisfied(step, before, floor, attempts)
    return Outcome(best, _verdict(before, floor, "refused" if best is None else "backed_off", attempts))


def _verdict(before: float, floor: float, word: str, attempts: list[Attempt]) -> Verdict:
    return Verdict(round(before - floor, 12), word, tuple(attempts))  # the difference of two sums has noise behind


def _enough(trial: Trial, floor: float) -> bool:
    return trial.score is not None and trial.score >= floor


def _strength(settings: Technique) -> float | None:
    """The value of the strength field; None where there is none or it is no single number."""
    value = None if settings.strength is None else getattr(settings, settings.strength)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _between(settings: Technique, gentle: float, hard: float) -> float | None:
    """The middle, as a whole number where the field holds one; None when nothing lies between."""
    middle = (gentle + hard) / 2
    if any(one.name == settings.strength and type(one.default) is int for one in fields(settings)):
        middle = round(middle)
    return None if middle in (gentle, hard) else middle


def _with_strength(settings: Technique, value: float) -> Technique:
    return replace(settings, **{str(settings.strength): value})


def _unsatisfied(step: Step, before: float, floor: float, attempts: list[Attempt]) -> GuardError:
    scores = [attempt.score for attempt in attempts if attempt.score is not None]
    return GuardError(
        f"no strength of {len(attempts)} tried keeps the score at {floor:.6g} or more (before the step: {before:.6g})",
        where=step.use,
        value=max(scores) if scores else "no finite output",
        fix="Allow a larger max_drop, ask for less, train longer, or drop `required`.",
    )
