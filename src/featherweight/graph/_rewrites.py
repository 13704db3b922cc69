"""What each exported operator becomes: itself, its argument (it changes nothing), another operator, or nothing."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from featherweight.graph import ops
from featherweight.graph.ir import Meta

INTEGER_OPS: Final[dict[Any, str]] = {
    operator.add: "int_add",
    operator.sub: "int_sub",
    operator.mul: "int_mul",
    operator.floordiv: "int_floordiv",
    operator.mod: "int_mod",
    operator.neg: "int_neg",
    torch.sym_max: "int_max",
    torch.sym_min: "int_min",
}

_MAX_INT: Final = 2**63 - 1


@dataclass(frozen=True)
class Call:
    """A call of ATen: arguments by the names of the schema, `example` what it gave in the trace."""

    packet: str
    overload: str
    given: dict[str, Any]
    example: Any
    strided: bool  # whether something in the graph looks at memory layout
    sized: bool = False  # whether shapes that say what is there already stay: other sizes may come


@dataclass(frozen=True)
class Refused:
    """Why a call cannot be kept."""

    reason: str


MetaOf = Callable[[Any], Meta | None]


def rewrite(call: Call, meta_of: MetaOf, is_untrained: Callable[[Any], bool]) -> Any:
    """The call in its one form, the argument that it gives back unchanged, or why it is refused."""
    subject = next(iter(call.given.values()), None)
    if call.packet.removesuffix("_") in _DROPOUTS:
        off = not call.given.get("train", True) or call.given.get("p") == 0
        return subject if off else Refused(f"the random operator {call.packet}")
    if call.packet in _COPIES and not (call.strided and call.packet in ("clone", "contiguous")):
        return subject
    if call.packet in ("detach", "detach_") and is_untrained(subject):
        return subject
    if call.packet in ("to", "_to_copy", "type_as"):
        return _cast(call, subject, meta_of)
    if call.packet == "rrelu" and not call.given.get("training"):
        slope = (call.given.get("lower", 1 / 8) + call.given.get("upper", 1 / 3)) / 2
        return replace(call, packet="leaky_relu", given={"self": subject, "negative_slope": slope})
    if call.packet == "copy":
        return _written_over(call, subject, meta_of)
    if _changes_nothing(call, subject, meta_of):
        return subject
    return _in_one_form(call)


_DROPOUTS: Final = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_COPIES: Final = ("clone", "contiguous", "alias", "lift_fresh", "lift_fresh_copy", "positive")
_RENAMED: Final = {
    ("view", "default"): ("reshape", "default"),
    ("_unsafe_view", "default"): ("reshape", "default"),
    ("detach_", "default"): ("detach", "default"),
    ("floor_divide_", "Tensor"): ("floor_divide", "default"),
    ("empty", "memory_format"): ("zeros", "default"),  # what is read of it was written before, so any value serves
    ("empty_like", "default"): ("zeros_like", "default"),
    ("new_empty", "default"): ("new_zeros", "default"),
}


def _cast(call: Call, subject: Any, meta_of: MetaOf) -> Any:
    meta = meta_of(subject)
    if meta is not None and meta.dtype == call.example.dtype:
        return subject
    return replace(call, packet="to", overload="dtype", given={"self": subject, "dtype": call.example.dtype})


def _written_over(call: Call, old: Any, meta_of: MetaOf) -> Any:
    """What is there after `old` was overwritten: the new values, spread over the old shape. Differentiable."""
    new = call.given["src"]
    before, after = meta_of(old), meta_of(new)
    if before is None or after is None or before.dtype != after.dtype:
        return Refused("a write into a tensor of another type")
    if before.shape == after.shape and 1 not in after.shape:  # only a size of 1 could be spread
        return new
    return replace(call, packet="expand_as", overload="default", given={"self": new, "other": old})


def _changes_nothing(call: Call, subject: Any, meta_of: MetaOf) -> bool:
    if call.packet == "slice":
        end, start = call.given.get("end"), call.given.get("start")
        return start in (None, 0) and call.given.get("step", 1) == 1 and (end is None or _beyond(end))
    if call.packet == "permute":
        return list(call.given["dims"]) == list(range(len(call.given["dims"])))
    if call.packet in ("view", "reshape", "expand", "flatten", "squeeze") and not call.sized:
        meta = meta_of(subject)
        whole = isinstance(call.example, torch.Tensor) and all(isinstance(size, int) for size in call.example.shape)
        static = all(isinstance(size, int) for size in call.given.get("size", call.given.get("shape", ())))
        return whole and static and meta is not None and meta == Meta.of(call.example)
    return False


def _beyond(end: Any) -> bool:
    return isinstance(end, int) and end >= _MAX_INT


def _in_one_form(call: Call) -> Any:
    packet, overload = _RENAMED.get((call.packet, call.overload), (call.packet, call.overload))
    if packet.endswith("_") and ops.name_of(packet.removesuffix("_"), overload) and not packet.endswith("__"):
        packet = packet.removesuffix("_")  # trace.py made sure that nothing else sees the change
    given = dict(call.given)
    if packet == "reshape" and "size" in given:
        given["shape"] = given.pop("size")
    if packet == "slice":
        given["start"] = None if given.get("start") == 0 else given.get("start")
        given["end"] = None if _beyond(given.get("end")) else given.get("end")
    name = ops.name_of(packet, overload)
    if name is None:
        return replace(call, packet=packet, overload=overload)
    op = ops.lookup(name)
    if any(item.name == "dtype" and item.default is not None for item in op.parameters) and op.factory:
        given["dtype"] = call.example.dtype  # the default type of the process is no part of a graph
    fault = _fault(op, given)
    return Refused(fault) if fault else replace(call, packet=packet, overload=overload, given=given)


def _fault(op: ops.Op, given: dict[str, Any]) -> str | None:
    """Why arguments that graphs do not have forbid the call."""
    for name, fixed in op.fixed:
        value = given.get(name)
        if name in ("training", "use_input_stats") and value != fixed(given):
            return f"{op.name} by the statistics of the batch, which it also remembers,"
        if name == "train" and value and given.get("dropout"):
            return f"{op.name} with random dropout"
        if name == "dropout_p" and value is not None and not math.isclose(value, 0.0):
            return f"{op.name} with random dropout"
    return None
