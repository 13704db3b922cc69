"""Which value a tensor object stands for, also after writes into memory that several tensors share.

Graphs have no writes. A write makes a new value for the tensor that was written to, and for the tensors that it is a
view of (`slice_scatter` and the like); other views of the same memory are computed again when they are next read.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import torch
from torch import Tensor

from featherweight.errors import TraceError
from featherweight.graph._record_calls import Called
from featherweight.graph._record_tape import Tape, Value
from featherweight.graph.ir import Meta


@dataclass(eq=False, slots=True)
class Family:
    """Tensors that share memory. `version` counts writes; `owner` says what must not be written to, "" for all else."""

    version: int = 0
    owner: str = ""
    broken: str = ""  # the write that only the tensor written to can follow


@dataclass(eq=False, slots=True)
class View:
    """How a tensor came from another one that it shares memory with; `index` where the operator gave several."""

    parent: "Entry"
    known: Called | None  # None: the same elements in the same order
    given: dict[str, Any]
    index: int | None
    starts: int  # where the part begins in its parent, for operators that divide it


@dataclass(eq=False, slots=True)
class Entry:
    """A tensor object, its value, and the version of the memory that the value is for."""

    tensor: Tensor
    value: Value
    family: Family
    version: int
    view: View | None = None


Scoped: TypeAlias = Callable[[], str]


class Memory:
    """The tensors met in a recording. All stay alive until its end, so that `id` tells them apart."""

    def __init__(self, tape: Tape, scope: Scoped) -> None:
        self._tape, self._scope = tape, scope
        self._entries: dict[int, Entry] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def bind(self, tensor: Tensor, value: Value, owner: str = "") -> None:
        """A tensor with memory of its own."""
        self._entries[id(tensor)] = Entry(tensor, value, Family(owner=owner), 0)

    def bind_same(self, tensor: Tensor, entry: Entry) -> None:
        """Another object for the same elements in the same memory."""
        value = self.value(entry.tensor)
        view = View(entry, None, {}, None, 0)
        self._entries[id(tensor)] = Entry(tensor, value, entry.family, entry.family.version, view)

    def bind_view(self, tensor: Tensor, value: Value, view: View) -> None:
        """A tensor that shares memory with the one it was made from."""
        family = view.parent.family
        self._entries[id(tensor)] = Entry(tensor, value, family, family.version, view)

    def entry(self, tensor: Tensor) -> Entry:
        """What is known of a tensor that was met."""
        return self._entries[id(tensor)]

    def value(self, tensor: Tensor) -> Value:
        """The value that a tensor has now.

        Raises: TraceError when a write changed it in a way that no operator expresses.
        """
        return self._current(self._entries[id(tensor)])

    def _current(self, entry: Entry) -> Value:
        family = entry.family
        if entry.version != family.version:
            if family.broken or entry.view is None:
                raise TraceError(
                    f"a tensor is read that shares memory with one that {family.broken} wrote to",
                    where=self._scope(),
                    fix="Use the form of the operator that writes to nothing (`y = y + x` for `y += x`).",
                )
            entry.value = self._seen_again(entry, entry.view)
            entry.version = family.version
        return entry.value

    def _seen_again(self, entry: Entry, view: View) -> Value:
        parent = self._current(view.parent)
        if view.known is None:
            return parent
        given = {**view.given, view.known.names[0]: parent}
        example: Any = entry.tensor
        if view.index is None:
            return self._one(view.known, given, example)
        parts = [entry.tensor] * (view.index + 1)  # only the one at `index` counts; the others are not read
        value: Value = self._tape.operate(view.known, given, parts, self._scope(), None)[view.index]
        return value

    def _one(self, known: Called, given: dict[str, Any], example: Tensor) -> Value:
        value: Value = self._tape.operate(known, given, example, self._scope(), None)
        return value

    def written(self, tensor: Tensor, value: Value, operator: str) -> None:
        """Notes that `tensor` now has this value, and what it is a view of with it."""
        entry = self._entries[id(tensor)]
        chain = [entry]
        while chain[-1].view is not None:
            chain.append(chain[-1].view.parent)
        before = {} if entry.family.broken else {id(item): self._current(item) for item in chain[1:]}
        entry.family.version += 1
        entry.value, entry.version = value, entry.family.version
        for child, parent in itertools.pairwise(chain):
            old = before.get(id(parent))
            new = None if old is None or child.view is None else self._spread(child, child.view, old)
            if new is None:
                entry.family.broken = f"{operator} in {self._scope() or 'the model'}"
                return
            parent.value, parent.version = new, parent.family.version

    def _spread(self, child: Entry, view: View, parent: Value) -> Value | None:
        """The parent's value with the child's in its place; None where no operator expresses that."""
        if view.known is None or view.known.packet in _SAME:
            return child.value
        if not isinstance(parent.meta, Meta):
            return None
        packet = view.known.packet
        if packet in _RESHAPES and child.tensor.numel() == view.parent.tensor.numel():
            return self._emit("reshape", (child.value, parent.meta.shape), parent)
        args = _scatter(packet, view, child, parent)
        return None if args is None else self._emit(args[0], args[1], parent)

    def _emit(self, name: str, args: tuple[Any, ...], like: Value) -> Value:
        return self._tape.emit(name, args, like.meta, self._scope())


_SAME: Final = ("detach", "alias", "resolve_conj", "resolve_neg", "contiguous", "to", "lift_fresh")
_RESHAPES: Final = (
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", "view_as", "reshape_as"),
    *("ravel", "expand", "expand_as", "broadcast_to"),  # with as many elements as before: a write needs that
)
_PARTS: Final = ("chunk", "split", "split_with_sizes", "unsafe_split", "unsafe_chunk", "tensor_split")
_DIAGONAL: Final = (("offset", 0), ("dim1", 0), ("dim2", 1))
_SWAPS: Final = ("transpose", "swapaxes", "swapdims")


def _scatter(packet: str, view: View, child: Entry, parent: Value) -> tuple[str, tuple[Any, ...]] | None:
    given: Mapping[str, Any] = view.given
    dim = given.get("dim", 0)
    if packet == "select":
        return "select_scatter", (parent, child.value, dim, given["index"])
    if packet == "unbind":
        return "select_scatter", (parent, child.value, dim, view.index)
    if packet == "slice":
        return "slice_scatter", _trimmed(parent, child.value, dim, given)
    if packet in _PARTS:
        return "slice_scatter", (parent, child.value, dim, view.starts, view.starts + child.tensor.shape[dim])
    if packet == "narrow" and isinstance(given["start"], int):
        start = given["start"] % view.parent.tensor.shape[dim] if given["start"] else 0
        return "slice_scatter", (parent, child.value, dim, start, start + given["length"])
    if packet in _SWAPS or packet in ("t", "mT", "numpy_T", "permute"):
        return _moved(packet, given, child, parent)
    if packet == "diagonal":
        return "diagonal_scatter", (parent, child.value, *(given.get(*item) for item in _DIAGONAL))
    return None


def _trimmed(parent: Value, child: Value, dim: int, given: Mapping[str, Any]) -> tuple[Any, ...]:
    start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
    end = None if isinstance(end, int) and end >= torch.iinfo(torch.int64).max else end
    args = (parent, child, dim, start or None, end, step)
    defaults = (parent, child, 0, None, None, 1)
    count = len(args)
    while count > 2 and args[count - 1] == defaults[count - 1]:
        count -= 1
    return args[:count]


def _moved(packet: str, given: Mapping[str, Any], child: Entry, parent: Value) -> tuple[str, tuple[Any, ...]]:
    rank = child.tensor.dim()
    order = list(range(rank))
    if packet == "permute":
        for place, dim in enumerate(given["dims"]):
            order[dim] = place
    elif packet in _SWAPS:
        left, right = (given[name] for name in list(given)[1:3])
        order[left], order[right] = order[right], order[left]
    elif packet == "numpy_T":
        order.reverse()
    elif rank > 1:
        order[-2], order[-1] = order[-1], order[-2]
    return "permute", (child.value, tuple(order))


def view_of(known: Called, given: dict[str, Any], parent: Entry, results: list[Tensor], index: int | None) -> View:
    """How the result at `index` of a call (None: the only one) shares its first argument's memory."""
    before = results[: index or 0] if known.packet in _PARTS else []
    starts = sum(item.shape[given.get("dim", 0)] for item in before)
    return View(parent, known, given, index, starts)


def is_alias_of(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors share memory."""
    return bool(cast(Any, torch._C)._is_alias_of(left, right))  # missing in torch's stubs
