"""The interface of a metric: one number with a unit, and how it is made up."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

SOCKET = "featherweight.profiling"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A number, its unit, its parts (by layer, where it has some) and what a reader must know about it."""

    value: float  # in `unit`; a count is an int
    unit: str
    parts: Mapping[str, float] = field(default_factory=dict)  # in `unit`
    notes: tuple[str, ...] = ()


class Metric(ABC):
    """What a model costs in one respect. Subclasses are found by file name."""

    unit: ClassVar[str]

    @abstractmethod
    def measure(self, model: nn.Module, example: tuple[Any, ...]) -> Measurement:
        """Measures `model`; `example` are its positional inputs with the batch in front (some metrics ignore them)."""
