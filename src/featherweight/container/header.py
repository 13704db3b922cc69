"""The header: records to bytes and back, every rule checked. Rules H1 to H14 of docs/format.md.

The header is one array `[tensors, graph, aliases, extras]`: a tensor is `[name, shape, spec]`, or
`[shared, rest, shape, spec]` where its name begins like the one before; an alias is `[name, tensor]`, an extra section
`[name, critical, length]`. Lengths and places of tensor sections are not stored: they follow from the specs, so
sections can neither overlap nor leave a hole.
"""

import math
from collections.abc import Iterable
from functools import partial

from featherweight.container import cbor, names
from featherweight.container.limits import MAX_SIZE, Deadline, Limits
from featherweight.container.spec import PREFIX_BYTES, Alias, ExtraRecord, Header, TensorRecord
from featherweight.core.patience import never
from featherweight.encodings import payload
from featherweight.errors import FormatError

_LEAST_SHARED = 2  # characters; the count takes a byte itself


def to_bytes(header: Header) -> bytes:
    """The header as it stands in the file.

    Raises: UsageError for what the notation cannot hold.
    """
    return cbor.encode(
        [
            [
                [*_name_parts(before, record.name), record.shape, record.spec]
                for before, record in zip(_names_before(header.tensors), header.tensors, strict=True)
            ],
            header.graph,
            [[alias.name, alias.index] for alias in header.aliases],
            [[record.name, record.critical, record.length] for record in header.extras],
        ]
    )


def from_bytes(data: bytes, limits: Limits, deadline: Deadline | None = None) -> Header:
    """The header that `to_bytes` gave. Memory and time are bounded by limits and deadline, whatever the bytes say.

    Raises: FormatError for a broken rule or a file beyond the limits.
    """
    decoder = cbor.Decoder(
        data,
        base=PREFIX_BYTES,
        depth=limits.depth,
        items=limits.header_items,
        check=never if deadline is None else partial(deadline.check, "header", PREFIX_BYTES),
    )
    decoder.array("the header", 4)
    tensors = _tensors(decoder, limits)
    graph_offset = decoder.offset
    graph = decoder.value(1)
    if not (graph is None or isinstance(graph, list)):
        decoder.fail("E_GRAPH", "the graph must be an array or null", graph_offset, graph)
    aliases = _aliases(decoder, limits, tensors)
    extras = _extras(decoder, limits)
    decoder.end()
    return Header(tensors, graph, aliases, extras)


def decoded_bytes(header: Header) -> int:
    """What all sections take when they are decoded, as the prefix has to say it."""
    return sum(record.decoded for record in header.tensors) + sum(record.length for record in header.extras)


def tensor_record(
    name: str, shape: Iterable[int], spec: Iterable[int], offset: int = 0, begin: int = 0
) -> TensorRecord:
    """A record, at `begin` in the file, with what follows from `shape` and `spec`; errors are at `offset`.

    Raises: FormatError for a spec that no tensor of this shape has.
    """
    shape, spec = tuple(shape), tuple(spec)
    try:
        plan = payload.inspect(shape, spec)
    except FormatError as error:
        raise relocated(error, name, offset) from error
    return TensorRecord(name, shape, spec, plan, begin)


def relocated(error: FormatError, section: str, offset: int) -> FormatError:
    """The same error with the section it is about and its place in the file."""
    what = error.what.removeprefix(f"{error.code}: ")
    return FormatError(error.code, what, section=section, offset=offset, value=error.value, fix=error.fix)


def _tensors(decoder: cbor.Decoder, limits: Limits) -> tuple[TensorRecord, ...]:
    start = decoder.offset
    count = decoder.array("the list of tensors")
    if count > limits.tensors:
        decoder.fail("E_BUDGET", f"more tensors than the limit of {limits.tensors}", start, count)
    seen: set[str] = set()
    budget = limits.budget()
    found: list[TensorRecord] = []
    for _ in range(count):
        offset = decoder.offset
        before = found[-1].name if found else ""
        shared = _shared(decoder, before)
        name_offset = decoder.offset
        name = _name(decoder, limits, seen, shared)
        if _shares_more(before, shared, name):
            decoder.fail("E_METADATA", "what a name shares with the one before is not counted right", name_offset, name)
        shape = _shape(decoder, limits)
        spec_offset = decoder.offset
        spec = _sizes(decoder, decoder.array("a spec"), "an entry of a spec")
        record = tensor_record(name, shape, spec, spec_offset, offset)
        if max(record.length, record.decoded) > MAX_SIZE:
            decoder.fail("E_OVERFLOW", "a section is longer than 2^53 - 1 bytes", spec_offset, record.length)
        if record.working > budget:
            decoder.fail("E_BUDGET", f"decoding takes more than {budget} bytes", spec_offset, record.working)
        found.append(record)
    return tuple(found)


def _aliases(decoder: cbor.Decoder, limits: Limits, tensors: tuple[TensorRecord, ...]) -> tuple[Alias, ...]:
    start = decoder.offset
    count = decoder.array("the list of aliases")
    if count + len(tensors) > limits.tensors:
        decoder.fail("E_BUDGET", f"more names of tensors than the limit of {limits.tensors}", start, count)
    seen = {record.name for record in tensors}
    found = []
    for _ in range(count):
        decoder.array("an alias", 2)
        name = _name(decoder, limits, seen)
        offset = decoder.offset
        index = decoder.unsigned("the tensor of an alias")
        if index >= len(tensors):
            decoder.fail("E_INDEX", "an alias of a tensor that is not there", offset, index)
        found.append(Alias(name, index))
    return tuple(found)


def _extras(decoder: cbor.Decoder, limits: Limits) -> tuple[ExtraRecord, ...]:
    start = decoder.offset
    count = decoder.array("the list of extra sections")
    if count > limits.extras:
        decoder.fail("E_BUDGET", f"more extra sections than the limit of {limits.extras}", start, count)
    seen: set[str] = set()
    found = []
    for _ in range(count):
        offset = decoder.offset
        decoder.array("an extra section", 3)
        name = _name(decoder, limits, seen)
        if decoder.boolean("the critical flag"):  # this version knows no section that a reader must know
            decoder.fail("E_VERSION", "a section that this release must know and does not", offset, name)
        length_offset = decoder.offset
        length = _size(decoder, "the length of a section")
        if length > limits.extra_bytes:
            decoder.fail("E_BUDGET", f"longer than the limit of {limits.extra_bytes} bytes", length_offset, length)
        found.append(ExtraRecord(name, False, length, offset))
    return tuple(found)


def _names_before(tensors: tuple[TensorRecord, ...]) -> list[str]:
    return ["", *(record.name for record in tensors)][: len(tensors)]


def _name_parts(before: str, name: str) -> tuple[str] | tuple[int, str]:
    """How a name stands in the header: what it shares with the one before is counted, in characters, where it pays."""
    shared = len(_common(before, name))
    return (shared, name[shared:]) if shared else (name,)


def _common(before: str, name: str) -> str:
    """What two names begin with, where it is long enough to be counted."""
    pairs = enumerate(zip(before, name, strict=False))
    shared = next((place for place, (one, other) in pairs if one != other), min(len(before), len(name)))
    return name[:shared] if shared >= _LEAST_SHARED else ""


def _shares_more(before: str, shared: str, name: str) -> bool:
    """Whether two names that begin with `shared` have more in common that would be counted."""
    least = len(shared) + 1 if shared else _LEAST_SHARED
    return min(len(before), len(name)) >= least and before[:least] == name[:least]


def _shared(decoder: cbor.Decoder, before: str) -> str:
    """Begins to read a tensor, up to the text of its name; gives what that name shares with the one before."""
    offset = decoder.offset
    entries = decoder.array("a tensor")
    if entries == len(("name", "shape", "spec")):
        return ""
    if entries != len(("shared", "rest", "shape", "spec")):
        decoder.fail("E_METADATA", "a tensor has 3 or 4 entries", offset, entries)
    offset = decoder.offset
    count = decoder.unsigned("how much of a name is shared")
    if not _LEAST_SHARED <= count <= len(before):
        decoder.fail("E_METADATA", "a name cannot share as much with the one before", offset, count)
    return before[:count]


def _name(decoder: cbor.Decoder, limits: Limits, seen: set[str], shared: str = "") -> str:
    offset = decoder.offset
    name = shared + decoder.text("a name")
    fault = names.fault(name, limits.name_bytes)
    if fault is not None:
        decoder.fail("E_NAME", fault, offset, name)
    if name in seen:
        decoder.fail("E_DUPLICATE", "a name that was given before", offset, name)
    seen.add(name)
    return name


def _shape(decoder: cbor.Decoder, limits: Limits) -> tuple[int, ...]:
    start = decoder.offset
    rank = decoder.array("a shape")
    if rank > limits.rank:
        decoder.fail("E_BUDGET", f"more dimensions than the limit of {limits.rank}", start, rank)
    shape = tuple(_sizes(decoder, rank, "a dimension"))
    elements = math.prod([size or 1 for size in shape])  # an empty tensor's other dimensions are bounded too
    if elements > MAX_SIZE:
        decoder.fail("E_OVERFLOW", "a tensor of more than 2^53 - 1 elements", start, shape)
    if elements > limits.elements or max(shape, default=0) > limits.dimension:
        decoder.fail("E_BUDGET", "a tensor larger than the limits allow", start, shape)
    return shape


def _sizes(decoder: cbor.Decoder, count: int, what: str) -> list[int]:
    found = decoder.small(count)
    while len(found) < count:
        found.append(_size(decoder, what))
        found += decoder.small(count - len(found))
    return found


def _size(decoder: cbor.Decoder, what: str) -> int:
    value = decoder.unsigned(what)
    if value > MAX_SIZE:  # so it takes 9 bytes
        decoder.fail("E_OVERFLOW", f"{what} is beyond 2^53 - 1", decoder.offset - 9, value)
    return value
