"""The steps of a surgery log (`graph/log.py`): what each says, what it may say, and each as plain JSON data.

Whatever makes a step checks it, a program that cuts or a reader of a file: there is one set of rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.errors import UsageError
from featherweight.graph import described

MAX_SIZE: Final = 2**31
MAX_RANK: Final = 32
MAX_NAME: Final = 1024  # characters
MAX_MODULES: Final = 16_384  # in one step

_WEIGHT: Final = 64

Value: TypeAlias = int | tuple[int, ...]


def is_integer(value: object, least: int, most: int = MAX_SIZE) -> bool:
    """Whether it is a whole number of this range; True and False are none."""
    return type(value) is int and least <= value <= most


def is_name(value: object) -> bool:
    """Whether it can be the name of a tensor, a module ("" is the model itself) or a dotted attribute."""
    if type(value) is not str or len(value) > MAX_NAME or not value.isprintable():
        return False
    return value == "" or all(value.split("."))


@dataclass(frozen=True)
class Cut:
    """What stays of one dimension: `dim` from 0, `size` indices before, `kept` runs of them as (start, count).

    Raises: UsageError for runs that are empty, overlap, touch, do not ascend or leave the dimension, and for none.
    """

    dim: int
    size: int
    kept: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not is_integer(self.dim, 0, MAX_RANK - 1):
            raise UsageError(f"a dimension is a number from 0 to {MAX_RANK - 1}", where="Cut.dim", value=self.dim)
        if not is_integer(self.size, 1):
            raise UsageError("a size is a number from 1 to 2^31", where="Cut.size", value=self.size)
        free = 0  # the first index that the next run may begin at
        for run in self.kept:
            if type(run) is not tuple or len(run) != 2 or not all(is_integer(part, 0) for part in run):
                raise UsageError("a run of kept indices is (start, count)", where="Cut.kept", value=run)
            start, count = run
            if start < free or count < 1 or start + count > self.size:
                raise UsageError(
                    f"runs of kept indices ascend within 0 to {self.size - 1}, with a gap between them",
                    where="Cut.kept",
                    value=run,
                )
            free = start + count + 1
        if not self.kept:
            raise UsageError("a dimension keeps at least one index", where="Cut.kept", value=self.kept)

    @classmethod
    def of(cls, dim: int, size: int, kept: Sequence[int] | NDArray[np.int64] | Tensor) -> "Cut":
        """The cut that keeps these indices, which ascend. Raises: UsageError."""
        indices = np.asarray(kept, dtype=np.int64).reshape(-1)
        if not len(indices):
            return cls(dim, size, ())
        starts = np.flatnonzero(np.diff(indices, prepend=indices[0] - 2) != 1)
        counts = np.diff(starts, append=len(indices))
        return cls(dim, size, tuple(zip(indices[starts].tolist(), counts.tolist(), strict=True)))

    @property
    def count(self) -> int:
        """How many indices stay."""
        return sum(count for _, count in self.kept)

    def indices(self) -> Tensor:
        """The indices that stay, ascending; int64 of shape (count,), not to be changed."""
        return self._indices

    @cached_property
    def _indices(self) -> Tensor:
        starts, counts = np.array(self.kept, dtype=np.int64).T
        offsets = starts - np.concatenate([[0], np.cumsum(counts)[:-1]])
        return torch.from_numpy(np.repeat(offsets, counts) + np.arange(counts.sum()))

    def plain(self) -> list[Any]:
        """As JSON data."""
        return [self.dim, self.size, [list(run) for run in self.kept]]


@dataclass(frozen=True)
class Removal:
    """Channels taken out: cuts by name of parameter or buffer, and attributes (module path, name, value) to set.

    A name may be dotted ("config.num_heads"): then only the module of this path gets a changed copy of `config`.
    `renumbered` are tensors (after their cuts) whose values are numbers of places: the cut of dimension 0 says which of
    these places stay, and each number becomes that of its place among them.

    Raises: UsageError for what the log does not allow.
    """

    tensors: Mapping[str, tuple[Cut, ...]]
    settings: tuple[tuple[str, str, Value], ...] = ()
    renumbered: Mapping[str, Cut] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.tensors, *self.renumbered):
            if not is_name(name) or not name:
                raise UsageError("a name of a tensor is a text without empty parts", where="remove", value=name)
        for name, cuts in self.tensors.items():
            dims = [cut.dim for cut in cuts]
            if not dims or sorted(set(dims)) != dims:
                raise UsageError("a tensor has one cut for each of some ascending dimensions", where=name, value=dims)
        seen = set()
        for path, attribute, value in self.settings:
            if not is_name(path) or not is_name(attribute) or not all(map(_is_attribute, attribute.split("."))):
                raise UsageError("a setting names a module and an attribute", where=str(path), value=attribute)
            if (path, attribute) in seen:
                raise UsageError("an attribute is set once in a step", where=str(path), value=attribute)
            seen.add((path, attribute))
            items = value if type(value) is tuple else (value,)
            if not all(is_integer(item, -MAX_SIZE) for item in items):
                raise UsageError("a setting is an integer or some", where=f"{path}.{attribute}", value=value)

    def plain(self) -> dict[str, Any]:
        """As JSON data; "renumber" stands there where something is."""
        plain: dict[str, Any] = {
            "do": "remove",
            "tensors": {name: [cut.plain() for cut in cuts] for name, cuts in self.tensors.items()},
            "set": [
                [path, name, list(value) if isinstance(value, tuple) else value] for path, name, value in self.settings
            ],
        }
        if self.renumbered:
            plain["renumber"] = {name: cut.plain()[1:] for name, cut in self.renumbered.items()}
        return plain

    @property
    def weight(self) -> int:
        """How many values the step says, about."""
        cuts = [*(cut for cuts in self.tensors.values() for cut in cuts), *self.renumbered.values()]
        runs = sum(len(cut.kept) for cut in cuts)
        return len(self.tensors) + len(self.renumbered) + runs + sum(_length(value) for _, _, value in self.settings)


def _is_attribute(part: str) -> bool:
    return part.isidentifier() and not part.startswith("__")


def _length(value: Value) -> int:
    return len(value) if isinstance(value, tuple) else 1


@dataclass(frozen=True)
class Replacement:
    """Modules put in the place of others: (path, description as in `graph/described.py`), in order.

    Raises: UsageError for a path that is empty, occurs twice or lies in another, and for what no module is built from.
    """

    modules: tuple[tuple[str, Mapping[str, Any]], ...]

    def __post_init__(self) -> None:
        seen = set()
        for path, _ in self.modules:
            if not is_name(path) or not path:
                raise UsageError("a module to replace has a path", where="replace", value=path)
            if path in seen:
                raise UsageError("a module is replaced once in a step", where="replace", value=path)
            seen.add(path)
        if self.weight > MAX_MODULES * _WEIGHT:
            raise UsageError(f"a step puts in at most {MAX_MODULES} modules", where="replace", value=len(seen))
        if self.elements > described.MAX_ELEMENTS:
            raise UsageError("a step puts in at most 2^31 weights", where="replace", value=self.elements)
        for path in seen:
            parts = path.split(".")
            if any(".".join(parts[:end]) in seen for end in range(1, len(parts))):
                raise UsageError("a module and one inside it are replaced in two steps", where="replace", value=path)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {"do": "replace", "modules": [[path, dict(description)] for path, description in self.modules]}

    @property
    def weight(self) -> int:
        """How much the step says, about; a module counts as 64 values, as making one takes that long."""
        return _WEIGHT * sum(described.modules(description) for _, description in self.modules)

    @cached_property
    def elements(self) -> int:
        """How many numbers its modules hold."""
        return sum(described.elements(description) for _, description in self.modules)


Step: TypeAlias = Removal | Replacement


def read_step(plain: Any) -> Step:
    """A step from JSON data. Raises: UsageError."""
    kinds = {"remove": ("tensors", "set"), "replace": ("modules",)}
    kind = plain.get("do") if type(plain) is dict else None
    if type(kind) is not str or kind not in kinds:
        raise UsageError('a step does "remove" or "replace"', where="step", value=kind)
    more = ("renumber",) if kind == "remove" and "renumber" in plain else ()
    _expect_keys(plain, ("do", *kinds[kind], *more), kind)
    if kind == "replace":
        entries = _entries(plain["modules"], 2, "modules")
        return Replacement(tuple((path, description) for path, description in entries))
    if type(plain["tensors"]) is not dict:
        raise UsageError("cuts stand by name of tensor", where="tensors", value=plain["tensors"])
    tensors = {name: tuple(_cuts(cuts, name)) for name, cuts in plain["tensors"].items()}
    return Removal(tensors, tuple(_settings(plain["set"])), _renumbered(plain.get("renumber", {})))


def _expect_keys(plain: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    if set(plain) != set(keys):
        raise UsageError(f"it has the entries {', '.join(keys)} and no other", where=where, value=sorted(plain))


def _entries(plain: Any, length: int, where: str) -> list[list[Any]]:
    if type(plain) is not list or not all(type(entry) is list and len(entry) == length for entry in plain):
        raise UsageError(f"a list of lists of {length} entries", where=where, value=plain)
    return plain


def _cuts(plain: Any, name: str) -> Iterable[Cut]:
    for dim, size, runs in _entries(plain, 3, name):
        yield Cut(dim, size, tuple(tuple(run) for run in _entries(runs, 2, name)))


def _renumbered(plain: Any) -> dict[str, Cut]:
    if type(plain) is not dict:
        raise UsageError("what is left of the numbered places stands by name of tensor", where="renumber", value=plain)
    found = {}
    for name, entry in plain.items():
        ((size, runs),) = _entries([entry], 2, name)
        found[name] = Cut(0, size, tuple(tuple(run) for run in _entries(runs, 2, name)))
    return found


def _settings(plain: Any) -> Iterable[tuple[str, str, Value]]:
    for path, attribute, value in _entries(plain, 3, "set"):
        if type(path) is not str or type(attribute) is not str:
            raise UsageError("a setting names a module and an attribute", where="set", value=[path, attribute])
        yield path, attribute, tuple(value) if type(value) is list else value
