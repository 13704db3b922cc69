"""Integers that remember where they came from, and their placing into a model's attributes for the time of a run."""

import enum
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Final, TypeAlias

import torch
from torch import Tensor, nn

from featherweight.graph.origins import Attribute, Constant, Expr, Kind, Operation

_LARGEST: Final = 64  # terms; a count that a loop keeps on adding to is no layout of channels
_DEEPEST: Final = 3  # objects between a module and an integer: module.config.vision.heads
_OPAQUE: Final = (Tensor, nn.Module, type, enum.Enum, ModuleType, dict, set)

AttributeValues: TypeAlias = Mapping[Attribute, int]


class Named(int):
    """An integer like any other that carries its `expr` through + - * // % and negation."""

    expr: Expr
    terms: int
    remarks: ClassVar["Remarks | None"] = None  # what the code does with integers, while it is noted

    def __eq__(self, other: object) -> bool:
        same = int.__eq__(self, other)
        if same is not NotImplemented:
            self._compared(other, same)
        return same

    def __ne__(self, other: object) -> bool:
        differs = int.__ne__(self, other)
        if differs is not NotImplemented:
            self._compared(other, not differs)
        return differs

    def _compared(self, other: object, same: bool) -> None:
        if Named.remarks is not None and isinstance(other, Named) and other.expr != self.expr:
            (Named.remarks.equal if same else Named.remarks.unequal)[self.expr, other.expr] = None

    def __float__(self) -> float:
        return float(self._used())

    def __truediv__(self, other: Any) -> Any:
        return int.__truediv__(self._used(), other)

    def __rtruediv__(self, other: Any) -> Any:
        return int.__rtruediv__(self._used(), other)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return int.__pow__(self._used(), other, modulus)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        return int.__rpow__(self._used(), other, modulus)

    def _used(self) -> int:
        if Named.remarks is not None:
            Named.remarks.used[self.expr] = None
        return int.__int__(self)

    __hash__ = int.__hash__

    def __new__(cls, value: int, expr: Expr, terms: int = 1) -> "Named":
        """The integer `value`; `terms` is the number of leaves of `expr`."""
        named = int.__new__(cls, value)
        named.expr = expr
        named.terms = terms
        return named

    def __neg__(self) -> int:
        return Named(int.__neg__(self), Operation("neg", self.expr, None), self.terms)

    def __pos__(self) -> int:
        return self

    def __copy__(self) -> "Named":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Named":
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def _forward(kind: Kind, function: Callable[[int, int], Any]) -> Callable[[Named, Any], Any]:
    def operate(self: Named, other: Any) -> Any:
        result = function(self, other)
        return result if result is NotImplemented else _combined(kind, result, self, other)

    return operate


def _backward(kind: Kind, function: Callable[[int, int], Any]) -> Callable[[Named, Any], Any]:
    def operate(self: Named, other: Any) -> Any:
        result = function(self, other)
        return result if result is NotImplemented else _combined(kind, result, other, self)

    return operate


def _combined(kind: Kind, result: int, left: int, right: int) -> int:
    terms = getattr(left, "terms", 1) + getattr(right, "terms", 1)
    if terms > _LARGEST:
        return result
    return Named(result, Operation(kind, expr_of(left), expr_of(right)), terms)


for _kind, _names in {
    "add": ("__add__", "__radd__"),
    "sub": ("__sub__", "__rsub__"),
    "mul": ("__mul__", "__rmul__"),
    "floordiv": ("__floordiv__", "__rfloordiv__"),
    "mod": ("__mod__", "__rmod__"),
}.items():
    setattr(Named, _names[0], _forward(_kind, getattr(int, _names[0])))  # type: ignore[arg-type]  # keys are Kinds
    setattr(Named, _names[1], _backward(_kind, getattr(int, _names[1])))  # type: ignore[arg-type]  # the same


def expr_of(value: int) -> Expr:
    """Where an integer came from."""
    return value.expr if isinstance(value, Named) else Constant(int(value))


@dataclass(frozen=True)
class Remarks:
    """What code does with integers: pairs that it compared, and what it computes scales from, in order, each once."""

    equal: dict[tuple[Expr, Expr], None] = field(default_factory=dict)
    unequal: dict[tuple[Expr, Expr], None] = field(default_factory=dict)
    used: dict[Expr, None] = field(default_factory=dict)


@contextmanager
def remarks() -> Iterator[Remarks]:
    """Notes what the code does with integers meanwhile."""
    Named.remarks = Remarks()
    try:
        yield Named.remarks
    finally:
        Named.remarks = None


@dataclass(frozen=True)
class _Replaced:
    """One attribute during a run: `old` must be back in `owner[key]` afterwards."""

    owner: dict[str, Any]
    key: str
    old: Any


@contextmanager
def named_attributes(model: nn.Module) -> Iterator[AttributeValues]:
    """Integer attributes of all modules, and of plain objects that are attributes, as Named; gives their values.

    Afterwards all are what they were, whatever the run set them to.
    """
    values: dict[Attribute, int] = {}
    replaced: list[_Replaced] = []
    seen: set[int] = set()
    try:
        for path, module in model.named_modules():
            _replace(path, "", module, (values, replaced, seen))
        yield values
    finally:
        for item in reversed(replaced):
            item.owner[item.key] = item.old
        seen.clear()
        for module in model.modules():
            _plain_again(module, seen, _DEEPEST)


_Found: TypeAlias = tuple[dict[Attribute, int], list[_Replaced], set[int]]


def _replace(path: str, prefix: str, thing: Any, found: _Found) -> None:
    values, replaced, seen = found
    if id(thing) in seen:
        return
    seen.add(id(thing))
    owner = vars(thing)
    for key, old in _own(thing):
        kind = _kind_of(type(old))
        if kind == "other":
            continue
        name = f"{prefix}{key}"
        if kind == "integer":
            origin = Attribute(path, name, None)
            values[origin] = old
            owner[key] = Named(old, origin)
        elif kind == "list" and any(type(item) is int for item in old):
            owner[key] = _named_list(path, name, old, values)
        elif kind == "object" and name.count(".") < _DEEPEST:
            _replace(path, f"{name}.", old, found)
            continue
        replaced.append(_Replaced(owner, key, old))


_HOUSEKEEPING: Final = frozenset(vars(nn.Module()))  # tables of parameters, hooks and the like


def _own(thing: Any) -> list[tuple[str, Any]]:
    """The attributes that a class of the user's own may compute with."""
    every = vars(thing).items()
    return [item for item in every if item[0] not in _HOUSEKEEPING] if isinstance(thing, nn.Module) else list(every)


_KINDS: Final[dict[type, str]] = {}


def _kind_of(kind: type) -> str:
    """What to do with an attribute of this type: "object" for one that has settings of its own, as configurations."""
    known = _KINDS.get(kind)
    if known is None:
        known = _KINDS[kind] = _kind_found(kind)
    return known


def _kind_found(kind: type) -> str:
    if kind is int or kind is Named:
        return "integer"
    if issubclass(kind, tuple | list):
        return "list"
    is_object = hasattr(kind, "__dict__") and kind.__dictoffset__ != 0 and not issubclass(kind, _OPAQUE)
    is_called = any("__call__" in vars(base) for base in kind.__mro__)
    return "object" if is_object and not is_called else "other"


def _named_list(path: str, name: str, old: Any, values: dict[Attribute, int]) -> Any:
    items = list(old)
    for position, item in enumerate(old):
        if type(item) is int:
            origin = Attribute(path, name, position)
            values[origin] = item
            items[position] = Named(item, origin)
    return _like(old, items)


def _like(old: Any, items: list[Any]) -> Any:
    """A sequence of the type of `old`; the same where the type has a constructor of its own."""
    if type(old) in (tuple, list, torch.Size):
        return type(old)(items)
    if isinstance(old, tuple) and hasattr(old, "_fields"):
        return type(old)(*items)
    return old


def _plain_again(thing: Any, seen: set[int], depth: int) -> None:
    """Takes the origins off integers that the run itself stored."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    owner = vars(thing)
    for key, value in _own(thing):
        kind = _kind_of(type(value))
        if isinstance(value, Named):
            owner[key] = int(value)
        elif kind == "list" and any(isinstance(item, Named) for item in value):
            owner[key] = _like(value, [int(item) if isinstance(item, Named) else item for item in value])
        elif kind == "object" and depth:
            _plain_again(value, seen, depth - 1)
