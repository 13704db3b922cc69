"""What the recorder knows of an ATen operator: its schema, whether it writes or looks at data, its place in ops.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from featherweight.graph import ops
from featherweight.graph.ops import REQUIRED, Op
from featherweight.graph.plain import same

_READS_DATA: Final = ("item", "_local_scalar_dense", "is_nonzero", "equal", "allclose")
_SHAPED_BY_DATA: Final = (
    *("nonzero", "nonzero_numpy", "argwhere", "masked_select", "_unique", "_unique2", "unique_dim"),
    *("unique_consecutive", "unique_dim_consecutive", "bincount"),
)
_CONSTANTS: Final = ("lift_fresh", "lift", "lift_fresh_copy")
_IN_PLACE: Final = {"zero_": ("fill", "Scalar"), "fill_": ("fill", ""), "copy_": ("copy", "default")}
_NO_ARGUMENTS: Final = (torch.device, torch.layout, torch.memory_format, torch.Generator, torch.Stream)


@dataclass(frozen=True)
class Called:
    """An overload of an operator, seen once and for all.

    `packet` and `overload` are the form without side effects where there is one; `written` names the argument that
    the operator writes to; `views` says that a result may share memory with an argument.
    """

    namespace: str
    packet: str
    overload: str
    names: tuple[str, ...]
    positional: int
    listed_ints: frozenset[str]
    written: tuple[str, ...]
    in_place: bool
    views: bool
    reads_data: bool
    shaped_by_data: bool
    makes_constant: bool

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the names of the schema."""
        return dict(zip(self.names, args, strict=False)) | dict(kwargs)


@cache
def called(function: Any) -> Called:
    """What is known of an overload (`torch.ops.aten.add.Tensor`)."""
    schema = function._schema
    namespace, packet = schema.name.split("::")
    written = tuple(item.name for item in schema.arguments if item.alias_info and item.alias_info.is_write)
    reads = packet in _READS_DATA or torch.Tag.data_dependent_output in function.tags
    name, overload, in_place = _without_effect(namespace, packet, function._overloadname, written)
    return Called(
        namespace=namespace,
        packet=name,
        overload=overload,
        names=tuple(item.name for item in schema.arguments),
        positional=sum(not item.kwarg_only for item in schema.arguments),
        listed_ints=frozenset(item.name for item in schema.arguments if str(item.type) == "List[int]"),
        written=written,
        in_place=in_place,
        views=not written and any(item.alias_info for item in schema.returns),
        reads_data=reads and all("Tensor" not in str(item.type) for item in schema.returns),
        shaped_by_data=packet in _SHAPED_BY_DATA,
        makes_constant=packet in _CONSTANTS,
    )


def _without_effect(namespace: str, packet: str, overload: str, written: tuple[str, ...]) -> tuple[str, str, bool]:
    """The operator that computes what this one writes into its first argument, and whether there is one."""
    if namespace != "aten" or written != ("self",) or not packet.endswith("_") or packet.endswith("__"):
        return packet, overload, False
    if packet in _IN_PLACE:
        name, kind = _IN_PLACE[packet]
        return name, kind or overload, True
    name = packet.removesuffix("_")
    if overload in getattr(getattr(torch.ops.aten, name, None), "overloads", list)():
        return name, overload, True
    return packet, overload, False


def listed_arguments(op: Op, given: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The arguments in the one form and order that a node has them; None when one is missing."""
    listed = [_constant(given.get(item.name, item.default), item.kind) for item in op.parameters]
    if any(item is REQUIRED for item in listed):
        return None
    while listed and same(listed[-1], op.parameters[len(listed) - 1].default):
        listed.pop()
    return tuple(listed)


def foreign_arguments(op: Op, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of an operator outside of the list: plain values, whatever else there is as text."""
    return tuple(
        _plain(given.get(item.name, None if item.default is REQUIRED else item.default)) for item in op.parameters
    )


def foreign_name(known: Called) -> str:
    """The name that an operator outside of the list has in a graph."""
    return f"{known.namespace}::{known.packet}.{known.overload}"


def _constant(value: Any, kind: str) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_constant(item, kind) for item in value)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, _NO_ARGUMENTS) else value


def lookup(name: str) -> Op:
    """The operator of a node, listed or not."""
    return ops.foreign(name) if "::" in name else ops.lookup(name)
