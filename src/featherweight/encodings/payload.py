"""An encoding as bytes: a flat list of unsigned numbers (the spec) and one string of bytes (the payload), and back.

    node    = code, fields..., stream*, node*
    stream  = number of the coder, bytes it takes

`code` is the encoding's number; it says how many fields there are. Shape and fields say how many streams and children
follow and of what size (`Encoding.layout`). The payload is the streams, one after the other, in the order of the spec.

A writer measures the forms that an encoding has and, for each stream, the coders it may use, and keeps what takes the
fewest bytes, numbers of the spec included; of equals the earlier form and the smaller coder number. (One exception, so
that what cannot be compressed is read at the speed of copying: encodings/_choice.py.) So the bytes are a
pure function of content and coders: writing again what was read gives the same bytes. A reader does not demand the
smallest: other choices decode to the same content, and `encode(..., like=spec)` repeats them byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from featherweight.encodings._choice import Choice, choose, floor
from featherweight.encodings._spec import MAX_DEPTH, Node, parse
from featherweight.encodings._spec import coders as all_coders
from featherweight.encodings.base import Encoding, Packed, Shape
from featherweight.entropy.base import ALONE, Coder, Stream, Work
from featherweight.errors import EncodingError, FormatError

_ALWAYS = (0, 1)  # constant and raw cost nothing in a reader, and together hold every stream


@dataclass(frozen=True)
class Payload:
    """The numbers that describe an encoding and the bytes that they describe."""

    spec: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a spec promises, found without reading a byte of the payload."""

    length: int  # bytes of the payload
    decoded_bytes: int  # of the tensor that `to_tensor()` of the result gives
    symbol_bytes: int  # that the streams take while they are decoded
    root: Node = field(repr=False)  # the spec as a tree

    @property
    def depth(self) -> int:
        """Of the nesting, 1 for an encoding without children."""
        return self.root.depth


def encode(encoding: Encoding, coders: Sequence[Coder] | None = None, *, like: Sequence[int] | None = None) -> Payload:
    """The smallest payload that these coders give (default: all there are; raw and constant always take part).

    `like` is a spec whose choices of forms and coders are repeated instead; it must be of the same content.

    Raises: EncodingError for an encoding that the file cannot hold, or that `like` does not fit.
    """
    chosen = _chosen(coders)
    node = _smallest(encoding, chosen, 1) if like is None else _repeated(encoding, _read_like(encoding, like))
    parts: list[bytes] = []
    spec: list[int] = []
    _write(node, spec, parts)
    return Payload(tuple(spec), b"".join(parts))


def coded_bytes(encoding: Encoding, coders: Sequence[Coder] | None = None) -> int:
    """len(encode(encoding, coders).data), without coding."""
    return _smallest(encoding, _chosen(coders), 1).total


def inspect(shape: Shape, spec: Sequence[int]) -> Plan:
    """What a spec promises for a tensor of `shape`. Costs O(len(spec)).

    Raises: FormatError for a spec that no encoding of this shape has.
    """
    root = parse(shape, spec)
    return Plan(root.length, root.numel * root.itemsize, root.symbol_bytes, root)


def dtype_of(shape: Shape, spec: Sequence[int]) -> torch.dtype:
    """The type of the tensor that `to_tensor()` of the result gives. Costs O(len(spec)).

    Raises: FormatError for a spec that no encoding of this shape has.
    """
    node = parse(shape, spec)
    while node.layout.dtype is None and node.children:
        node = node.children[-1]
    if node.layout.dtype is None:
        raise FormatError("E_VERSION", "an encoding that does not say its type", value=node.kind.__name__)
    return node.layout.dtype


def describe(shape: Shape, spec: Sequence[int]) -> str:
    """A spec in words, outermost encoding first: "sparse > codebook 32 > dense float16", for tables.

    Raises: FormatError for a spec that no encoding of this shape has.
    """
    return " > ".join(node.kind.describe(node.fields) for node in parse(shape, spec).walk())


def decode(shape: Shape, spec: Sequence[int], data: bytes | memoryview, work: Work = ALONE) -> Encoding:
    """The encoding of a tensor of `shape`; offsets in errors are within `data`.

    `work` says on how many threads and when to give up. Time and memory are O(len(data) + what `inspect` tells), so a
    reader compares that with its budget first. NaN and infinities are given as they are: ask `Encoding.finite`.

    Raises: FormatError for a spec or bytes that `encode` cannot have given.
    """
    return decode_planned(inspect(shape, spec), data, work)


def decode_planned(plan: Plan, data: bytes | memoryview, work: Work = ALONE) -> Encoding:
    """The same as `decode` for a spec that `inspect` has taken apart."""
    if plan.length != len(data):
        raise FormatError(
            "E_SPAN",
            f"the streams take {plan.length} bytes",
            offset=min(plan.length, len(data)),
            value=len(data),
        )
    encoding, _ = _decoded(plan.root, memoryview(data), 0, work)
    return encoding


# writing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Coded:
    """An encoding with all choices made: its streams, and how each of them is coded."""

    code: int
    packed: Packed
    streams: tuple[Stream, ...]
    choices: tuple[Choice, ...]
    children: tuple["_Coded", ...]

    @property
    def cost(self) -> int:
        """Bytes of the streams and of the numbers that come with the form, children aside."""
        numbers = [*self.packed.fields, *(choice.size for choice in self.choices)]
        return sum(choice.size for choice in self.choices) + len(self.choices) + sum(map(_number_bytes, numbers))

    @property
    def total(self) -> int:
        """Bytes of all streams, those of children included."""
        return sum(choice.size for choice in self.choices) + sum(child.total for child in self.children)


def _smallest(encoding: Encoding, coders: Sequence[Coder], depth: int) -> _Coded:
    if depth > MAX_DEPTH:
        raise EncodingError(f"encodings nest deeper than {MAX_DEPTH}", value=depth)
    best: _Coded | None = None
    for form in encoding.forms():
        packed = encoding.pack(form)
        streams = _streams(encoding, packed)
        pairs = list(zip(packed.streams, streams, strict=True))
        if best is not None and sum(floor(*pair, coders) for pair in pairs) >= best.cost:
            continue  # so it need not be coded to know that it is larger
        coded = _Coded(
            encoding.code, packed, streams, tuple(choose(*pair, coders, encoding.worth) for pair in pairs), ()
        )
        if best is None or coded.cost < best.cost:
            best = coded
    if best is None:
        raise EncodingError("has no form for the file", value=type(encoding).__name__)
    children = tuple(_smallest(child, coders, depth + 1) for child in best.packed.children)
    return _Coded(best.code, best.packed, best.streams, best.choices, children)


def _repeated(encoding: Encoding, node: Node) -> _Coded:
    """The choices of `node` for `encoding`."""
    if type(encoding) is not node.kind or encoding.shape != node.shape:
        raise EncodingError("the spec is of another encoding", value=(type(encoding).__name__, encoding.shape))
    packed = encoding.pack(node.fields[0])
    if packed.fields != node.fields:
        raise EncodingError("the spec is of another content", value=packed.fields)
    streams = _streams(encoding, packed)
    made = [all_coders()[code]() for code, _ in node.streams]
    choices = tuple(Choice(coder, 0) for coder in made)  # of which nobody asks the size
    pairs = zip(packed.children, node.children, strict=True)
    children = tuple(_repeated(child, below) for child, below in pairs)
    return _Coded(encoding.code, packed, streams, choices, children)


def _read_like(encoding: Encoding, spec: Sequence[int]) -> Node:
    try:
        return parse(encoding.shape, spec)
    except FormatError as error:
        raise EncodingError("the spec is of another encoding", value=tuple(spec)) from error


def _write(node: _Coded, spec: list[int], parts: list[bytes]) -> None:
    spec += [node.code, *node.packed.fields]
    for symbols, stream, choice in zip(node.packed.streams, node.streams, node.choices, strict=True):
        parts.append(choice.coder.to_bits(symbols, stream) if choice.data is None else choice.data)
        spec += [choice.coder.code, len(parts[-1])]
    for child in node.children:
        _write(child, spec, parts)


def _streams(encoding: Encoding, packed: Packed) -> tuple[Stream, ...]:
    return type(encoding).layout(encoding.shape, packed.fields).streams


def _chosen(coders: Sequence[Coder] | None) -> list[Coder]:
    """The coders that take part, in order of their numbers."""
    known = all_coders()
    codes = known.keys() if coders is None else {coder.code for coder in coders} | set(_ALWAYS)
    given = {} if coders is None else {coder.code: coder for coder in coders}
    return [given.get(code) or known[code]() for code in sorted(codes)]


def _number_bytes(number: int) -> int:
    """What a number of the spec takes in the header, which is CBOR."""
    return 1 if number < 24 else 1 + next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)


# reading -------------------------------------------------------------------------------------------------------------


def _decoded(node: Node, data: memoryview, at: int, work: Work) -> tuple[Encoding, int]:
    """The encoding of a node whose streams begin at byte `at`, and the byte behind the last of them."""
    start, streams, known = at, [], all_coders()
    for wanted, (code, length) in zip(node.layout.streams, node.streams, strict=True):
        try:
            coder = known[code]()
            streams.append(coder.from_bits(data[at : at + length], wanted, work))
        except FormatError as error:
            raise error.moved(at) from error
        at += length
    children = []
    for child in node.children:
        encoding, at = _decoded(child, data, at, work)
        children.append(encoding)
    try:
        return node.kind.unpack(node.shape, Packed(node.fields, tuple(streams), tuple(children)), work), at
    except FormatError as error:
        raise error.moved(start) from error
