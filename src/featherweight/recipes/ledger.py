"""What a run did, step by step, as JSON values."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

TIMES = ("seconds", "latency_ms", "latency_ms_spread")
"""What differs from run to run; left out of files, which are the same for the same seed."""

DETAILS = "details"
"""Curves and values for the report: the run directory keeps them, a file would be made a third larger by them."""


@dataclass(frozen=True)
class Attempt:
    """One try at a guarded step: the value of the strength field (None where it has none) and the score after it.

    A `score` of None means that the model gave no numbers any more.
    """

    strength: float | None
    score: float | None


@dataclass(frozen=True)
class Verdict:
    """What the guard made of a step: "kept", "backed_off" or "refused". `max_drop` is what the step was allowed."""

    max_drop: float
    verdict: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One step. `before` and `after` are `Profile.summary()`s; scores are None where there is no validation data.

    `settings` are those that the model was changed with: after a back-off, with the strength that was kept.
    """

    index: int
    technique: str
    settings: dict[str, Any]
    seed: int
    seconds: float
    before: dict[str, Any]
    after: dict[str, Any]
    score_before: float | None = None
    score_after: float | None = None
    guard: Verdict | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Entry":
        """The entry that `to_dict` gave, also after a way through JSON."""
        guard = values.get("guard")
        if guard is not None:
            attempts = tuple(Attempt(**attempt) for attempt in guard["attempts"])
            guard = Verdict(guard["max_drop"], guard["verdict"], attempts)
        return cls(**{**values, "guard": guard})


@dataclass(frozen=True)
class Ledger:
    """The entries of a run, in order."""

    entries: tuple[Entry, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Entry:
        return self.entries[index]

    def with_entry(self, entry: Entry) -> "Ledger":
        """The ledger with one more entry."""
        return Ledger((*self.entries, entry))

    def to_list(self) -> list[dict[str, Any]]:
        """All entries as JSON values."""
        return [entry.to_dict() for entry in self.entries]

    def for_file(self) -> list[dict[str, Any]]:
        """All entries as JSON values, with what the seed decides and without details."""
        plain = [entry.to_dict() for entry in self.entries]
        return [_timeless({key: value for key, value in entry.items() if key != DETAILS}) for entry in plain]

    @classmethod
    def from_list(cls, entries: Iterable[dict[str, Any]]) -> "Ledger":
        """The ledger that `to_list` gave."""
        return cls(tuple(Entry.from_dict(entry) for entry in entries))


def json_safe(value: Any) -> Any:
    """The value with tuples as lists and numbers that JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_timeless(item) for item in value]
    return value
