"""The interface of a data source, and the splits that every task is given.

A source gives *parts* as they were published (training, test, perhaps validation). The splits are carved from the
training part alone: what is chosen on validation or measured on calibration data never saw the test part.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from featherweight.core.examples import Examples, TensorExamples
from featherweight.data.normalize import Normalize
from featherweight.data.places import Lookup
from featherweight.data.views import Mapped, Subset, first
from featherweight.errors import DataError

SOCKET = "featherweight.data.sources"


@dataclass(frozen=True)
class Part:
    """One published part of a set: `inputs` (n, ...) and `target` (n,), equally long."""

    inputs: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.target):
            raise DataError(
                "inputs and targets differ in length", where="data", value=(len(self.inputs), len(self.target))
            )

    def examples(self, transform: Normalize | None = None) -> TensorExamples:
        """The part as examples; `transform` makes a batch of bytes into floats."""
        return TensorExamples(self.inputs, self.target, transform)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a source read: the published parts, how pixels are normalised, class names, and where it came from."""

    train: Part | None = None
    validation: Part | None = None
    test: Part | None = None
    transform: Normalize | None = None
    classes: tuple[str, ...] = ()
    origin: str = ""  # in words: the files or package that were read


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """One kind of data. Subclasses are frozen dataclasses of settings in a file of their own, found by its path.

    `substitute` names the source that may stand in when this one is nowhere to be found and the caller allows it.
    """

    substitute: ClassVar[str | None] = None

    @abstractmethod
    def parts(self, lookup: Lookup) -> Parts:
        """Reads the parts; `lookup` finds (or downloads) files by name.

        Raises: DataError that says which file to put where, or what is wrong in the file.
        """


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The examples of a set by what they are for; `test` is for the end and for nothing else."""

    train: Examples
    validation: Examples
    calibration: Examples  # some of `train`: for statistics, never for choosing
    test: Examples | None = None
    name: str = ""
    origin: str = ""
    classes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One sentence: which set, from where, how many examples are for what."""
        test = "no test part" if self.test is None else f"{len(self.test):,} test"
        counts = f"{len(self.train):,} train ({len(self.calibration):,} of them for calibration)"
        source = f" from {self.origin}" if self.origin else ""
        return f"{self.name or 'data'}{source}: {counts}, {len(self.validation):,} validation, {test}"

    def cut(self, count: int) -> "Splits":
        """The same splits with at most `count` examples each (training and validation are in random order).

        Raises: DataError for a count below 1.
        """
        if count < 1:
            raise DataError("a cut keeps at least one example", where=self.name, value=count)
        test = None if self.test is None else Subset(self.test, _shuffled(len(self.test), seed=0)[:count])
        return replace(
            self,
            train=first(self.train, count),
            validation=first(self.validation, count),
            calibration=first(self.calibration, count),
            test=test,
        )

    def mapped(self, change: Callable[..., Any]) -> "Splits":
        """The same splits with `change` applied to the inputs of each batch (rows instead of images, say)."""
        test = None if self.test is None else Mapped(self.test, change)
        return replace(
            self,
            train=Mapped(self.train, change),
            validation=Mapped(self.validation, change),
            calibration=Mapped(self.calibration, change),
            test=test,
        )

    def as_task(self) -> dict[str, Examples | None]:
        """The four splits by the names that Task takes: `Task(..., **splits.as_task())`."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }


def carve(
    parts: Parts, *, name: str, validation: float | None = None, calibration: int = 1000, seed: int = 0
) -> Splits:
    """Splits from published parts. A published validation part is kept; else it is carved from the training part.

    `validation` is its share of the training part, in (0, 1); default: a twelfth, but at least 1,000 examples or a
    fifth where that is less, so that an accuracy guard can tell a real loss from noise. Calibration data are the first
    `calibration` training examples. The same seed gives the same splits.

    Raises: DataError when there is no training part, or a share that leaves a split empty.
    """
    if parts.train is None:
        raise DataError("there is no training part to carve splits from", where=name, value=parts.origin)
    examples = parts.train.examples(parts.transform)
    order = _shuffled(len(examples), seed)
    held: Examples
    if parts.validation is not None:
        held, kept = parts.validation.examples(parts.transform), order
    else:
        count = _validation_count(len(examples), validation, name)
        held, kept = Subset(examples, order[:count]), order[count:]
    train = Subset(examples, kept)
    return Splits(
        train=train,
        validation=held,
        calibration=first(train, calibration),
        test=None if parts.test is None else parts.test.examples(parts.transform),
        name=name,
        origin=parts.origin,
        classes=parts.classes,
    )


def _validation_count(total: int, share: float | None, name: str) -> int:
    if share is None:
        count = max(total // 12, min(1000, total // 5))
    else:
        count = round(total * share)
    if not 0 < count < total:
        raise DataError(
            f"the validation share leaves a split of the {total} training examples empty",
            where=name,
            value=share,
            fix="Give a share between 0 and 1 and at least five examples.",
        )
    return count


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
