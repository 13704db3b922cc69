"""The spec of an encoding, read and checked: a tree of nodes that says what the payload holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

from featherweight.core import catalog
from featherweight.encodings.base import Encoding, Layout, Shape
from featherweight.entropy.base import Coder
from featherweight.entropy.tables import symbol_size
from featherweight.errors import EncodingError, FormatError

MAX_DEPTH = 4

T = TypeVar("T", Encoding, Coder)

_SHORT = 8  # numbers of a spec that are worth remembering
_MAX_NUMBER = (1 << 53) - 1  # the largest integer that every reader, JavaScript too, holds exactly


@dataclass(frozen=True, slots=True)
class Node:
    """One encoding of a spec. `streams` pairs the coder's number with the bytes that the coded stream takes."""

    kind: type[Encoding]
    shape: Shape
    fields: tuple[int, ...]
    layout: Layout
    streams: tuple[tuple[int, int], ...]
    children: tuple["Node", ...]
    length: int  # bytes that all streams take, those of children too
    symbol_bytes: int  # that they take while they are decoded

    @property
    def numel(self) -> int:
        """How many weights the tensor has."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one weight of the tensor that is decoded."""
        return self.layout.itemsize or (self.children[-1].itemsize if self.children else 0)

    @property
    def depth(self) -> int:
        """Of the nesting: 1 without children."""
        return 1 + max((child.depth for child in self.children), default=0)

    def walk(self) -> list["Node"]:
        """This node and all below it, in the order of the spec."""
        found = [self]
        for child in self.children:
            found += child.walk()
        return found


def parse(shape: Shape, spec: Sequence[int]) -> Node:
    """The tree that a spec describes for a tensor of `shape`. Costs O(len(spec)).

    Raises: FormatError (E_OVERFLOW, E_COUNT, E_TRAILING, E_VERSION, E_SPAN and what `Encoding.layout` raises).
    """
    if min(shape, default=0) < 0 or math.prod(shape) > _MAX_NUMBER:
        raise FormatError("E_OVERFLOW", "a shape that no tensor has", value=tuple(shape))
    cursor = _Cursor(spec)
    root = _node(cursor, tuple(shape), 1)
    if cursor.place != len(spec):
        raise FormatError("E_TRAILING", f"the spec ends after {cursor.place} numbers", value=len(spec))
    return root


class _Cursor:
    """Takes the numbers of a spec one after the other."""

    def __init__(self, spec: Sequence[int]) -> None:
        self.spec, self.place = spec, 0
        in_order = set(map(type, spec)) == {int} and min(spec) >= 0 and max(spec) <= _MAX_NUMBER
        self._unchecked = len(spec) if in_order else 0  # numbers at whose kind and size nobody need look again

    def take(self, what: str) -> int:
        place, spec = self.place, self.spec
        if place >= len(spec):
            raise FormatError("E_COUNT", f"the spec ends before {what}", value=len(spec))
        number = spec[place]
        if type(number) is not int or not 0 <= number <= _MAX_NUMBER:
            raise FormatError("E_OVERFLOW", f"{what} is no number from 0 to 2^53 - 1", value=number)
        self.place = place + 1
        return number

    def some(self, count: int, what: str) -> tuple[int, ...]:
        behind = self.place + count
        if behind > self._unchecked:
            return tuple([self.take(what) for _ in range(count)])
        found, self.place = tuple(self.spec[self.place : behind]), behind
        return found


def _node(cursor: _Cursor, shape: Shape, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise FormatError("E_SPAN", f"encodings nest deeper than {MAX_DEPTH}", value=depth)
    code = cursor.take("the number of an encoding")
    kind = encodings().get(code)
    if kind is None:
        raise FormatError("E_VERSION", "an encoding that this version does not know", value=code)
    fields = cursor.some(kind.field_count, "a field")
    layout = kind.layout(shape, fields)
    streams, length, symbol_bytes = [], 0, 0
    for wanted in layout.streams:
        coder, size = _stream(cursor)
        streams.append((coder, size))
        length += size
        symbol_bytes += wanted.count * symbol_size(wanted.alphabet)
    children = tuple([_child(cursor, child, depth + 1) for child in layout.children])
    for child in children:
        length += child.length
        symbol_bytes += child.symbol_bytes
    return Node(kind, shape, fields, layout, tuple(streams), children, length, symbol_bytes)


def _child(cursor: _Cursor, shape: Shape, depth: int) -> Node:
    """The same as `_node`; what many tensors end with, a single step say, is taken apart once."""
    rest = tuple(cursor.spec[cursor.place :])
    if len(rest) > _SHORT or set(map(type, rest)) != {int}:
        return _node(cursor, shape, depth)
    try:
        node, cursor.place = _ending(shape, rest, depth), len(cursor.spec)
    except FormatError:  # or more follows: the cursor knows where in the spec that is
        node = _node(cursor, shape, depth)
    return node


@lru_cache(256)
def _ending(shape: Shape, spec: tuple[int, ...], depth: int) -> Node:
    cursor = _Cursor(spec)
    node = _node(cursor, shape, depth)
    if cursor.place != len(spec):
        raise FormatError("E_TRAILING", "something follows", value=len(spec))
    return node


def _stream(cursor: _Cursor) -> tuple[int, int]:
    code = cursor.take("the number of a coder")
    if code not in coders():
        raise FormatError("E_VERSION", "a coder that this version does not know", value=code)
    return code, cursor.take("the bytes of a stream")


@cache
def encodings() -> dict[int, type[Encoding]]:
    """All encodings by their number in the file."""
    socket, parts = "featherweight.encodings", ("attach", "payload")
    found = [catalog.load(socket, name, Encoding, parts) for name in catalog.names(socket, parts)]  # type: ignore[type-abstract]  # any concrete subclass
    return _by_code(found)


@cache
def coders() -> dict[int, type[Coder]]:
    """All coders by their number in the file."""
    socket, parts = "featherweight.entropy", ("tables",)
    found = [catalog.load(socket, name, Coder, parts) for name in catalog.names(socket, parts)]  # type: ignore[type-abstract]  # any concrete subclass
    return _by_code(found)


def _by_code(found: Sequence[type[T]]) -> dict[int, type[T]]:
    by_code = {item.code: item for item in found}
    if len(by_code) != len(found):
        raise EncodingError("two have the same number in the file", value=sorted(item.code for item in found))
    return by_code
