"""Axes: where a value lies between the ends, which ticks to draw, and how scores are written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from featherweight.report.text import MINUS, points


@dataclass(frozen=True)
class Linear:
    """Maps `low`..`high` to 0..1."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of `value`, 0 at `low`, 1 at `high`."""
        return 0.5 if self.high <= self.low else (value - self.low) / (self.high - self.low)

    def ticks(self, wanted: int = 4) -> list[float]:
        """Round values between the ends, about `wanted` of them."""
        step = _round_step((self.high - self.low) / max(wanted, 1))
        if step <= 0:
            return [self.low]
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    @staticmethod
    def around(values: Iterable[float], *, least: float, pad: float = 0.12) -> "Linear":
        """A scale that holds `values` with room around them and spans at least `least`."""
        known = [value for value in values if math.isfinite(value)]
        low, high = (min(known), max(known)) if known else (0.0, least)
        room = max((high - low) * pad, (least - (high - low)) / 2)
        return Linear(low - room, high + room)


def _round_step(rough: float) -> float:
    if rough <= 0 or not math.isfinite(rough):
        return 0.0
    power = 10.0 ** math.floor(math.log10(rough))
    return min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / rough))) * power


@dataclass(frozen=True)
class Bytes:
    """Maps bytes to 0..1 on a logarithmic axis."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of `value` bytes; nothing is smaller than the low end."""
        span = math.log(self.high / self.low)
        return math.log(max(value, self.low) / self.low) / span if span > 0 else 0.5

    def ticks(self) -> list[int]:
        """Round numbers of bytes between the ends: powers of 1000, of 10, or halves and fifths of those."""
        found: list[int] = []
        for stride, factors in ((3, (1,)), (1, (1,)), (1, (1, 3)), (1, (1, 2, 5))):
            powers = range(0, math.ceil(math.log10(self.high)) + 1, stride)
            ticks = [factor * 10**power for power in powers for factor in factors]
            found = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(found) >= 3:
                break
        return found

    @staticmethod
    def around(values: Iterable[int]) -> "Bytes":
        """A scale that holds all positive `values`, with room for labels at both ends."""
        known = [value for value in values if value > 0] or [1, 1000]
        low, high = math.log2(min(known)), math.log2(max(known))
        return Bytes(2 ** (low - 0.5), 2 ** (high + 0.5))


@dataclass(frozen=True)
class Scores:
    """How scores are written: as percentages when all lie in 0..1, as plain numbers otherwise."""

    share: bool

    @staticmethod
    def of(values: Iterable[float]) -> "Scores":
        """The style that fits all `values`."""
        return Scores(all(0 <= value <= 1 for value in values))

    def text(self, score: float | None, digits: int = 2) -> str:
        """One score: 99.12 %, or 1.234."""
        if score is None or not math.isfinite(score):
            return "—"
        return f"{100 * score:.{digits}f} %" if self.share else f"{score:.4g}"

    def change(self, before: float | None, after: float | None) -> str:
        """A change of score: −0.02 (percentage points), or −0.0123."""
        if before is None or after is None:
            return "—"
        if self.share:
            return points(after - before)
        return f"{after - before:+.4g}".replace("-", MINUS)

    @property
    def unit(self) -> str:
        """What `change` counts."""
        return "points" if self.share else "score"

    def ticks(self, scale: Linear, wanted: int = 4) -> list[tuple[float, str]]:
        """Places 0..1 and labels of the ticks of a score axis."""
        values = [value for value in scale.ticks(wanted) if not self.share or 0 <= value <= 1]
        step = values[1] - values[0] if len(values) > 1 else scale.high - scale.low
        digits = max(0, math.ceil(-math.log10(100 * step) - 1e-9)) if self.share and step > 0 else 0
        return [(scale.at(value), self.text(value, digits)) for value in values]
