"""What a report tells, as plain values: no tensors, no files, no markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """One try of the accuracy guard: the strength it set (None: as asked for) and the score that came out."""

    strength: float | None
    score: float | None


@dataclass(frozen=True)
class Guard:
    """What the accuracy guard decided about a step. `max_drop` is the score that the step may cost (None: any)."""

    max_drop: float | None
    verdict: str  # "kept", "backed_off" or "refused"
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of the recipe as the ledger has it; bytes are those of all tensors as they are kept, file aside."""

    index: int
    technique: str
    settings: Mapping[str, Any]
    seconds: float | None
    score_before: float | None
    score_after: float | None
    bytes_before: int | None
    bytes_after: int | None
    guard: Guard | None = None


@dataclass(frozen=True)
class Layer:
    """One tensor of the model: `stages` holds its bytes at each stage of `Story.stages`."""

    name: str
    shape: tuple[int, ...]
    encoding: str
    nonzeros: int
    stages: tuple[int, ...]

    @property
    def weights(self) -> int:
        """The number of values in the tensor."""
        total = 1
        for size in self.shape:
            total *= size
        return total

    @property
    def density(self) -> float | None:
        """The share of values that are not zero, 0..1; None for an empty tensor."""
        return self.nonzeros / self.weights if self.weights else None

    @property
    def bits(self) -> float | None:
        """Bits of the file for each value of the tensor; None for an empty one."""
        return 8 * self.stages[-1] / self.weights if self.weights else None


@dataclass(frozen=True)
class Histogram:
    """How the weights of one tensor are distributed, zeros left out, and the values that they were rounded to.

    `counts[i]` weights lie in the i-th of equal bins from `low` to `high`; `centroids` are (value, weights that share
    it), ascending by value.
    """

    name: str
    low: float
    high: float
    counts: tuple[int, ...]
    zeros: int
    centroids: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Curve:
    """How the score falls as less of one layer is kept: (density 0..1, score), ascending; and the density chosen."""

    name: str
    points: tuple[tuple[float, float], ...]
    chosen: float | None = None


@dataclass(frozen=True)
class Story:
    """Everything a report shows. `stages` are short labels, the first dense, the last as coded in the file."""

    title: str
    recipe: str
    steps: Sequence[Step] = ()
    stages: Sequence[str] = ()
    layers: Sequence[Layer] = ()
    histograms: Sequence[Histogram] = ()
    curves: Sequence[Curve] = ()
    dense_bytes: int | None = None
    file_bytes: int | None = None
    score_before: float | None = None
    score_after: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    recipe_text: str = ""
    notes: Sequence[str] = ()

    @property
    def stage_bytes(self) -> tuple[int, ...]:
        """The bytes of all tensors at each stage."""
        return tuple(sum(layer.stages[index] for layer in self.layers) for index in range(len(self.stages)))

    @property
    def density(self) -> float | None:
        """The share of all values that are not zero, 0..1."""
        weights = sum(layer.weights for layer in self.layers)
        return sum(layer.nonzeros for layer in self.layers) / weights if weights else None

    @property
    def seconds(self) -> float | None:
        """How long the steps took together; None when no step says."""
        known = [step.seconds for step in self.steps if step.seconds is not None]
        return sum(known) if known else None

    @property
    def scores(self) -> tuple[float, ...]:
        """Every score that the story mentions."""
        of_steps = [score for step in self.steps for score in (step.score_before, step.score_after)]
        of_curves = [score for curve in self.curves for _, score in curve.points]
        ends = [self.score_before, self.score_after]
        return tuple(score for score in (*of_steps, *of_curves, *ends) if score is not None)
