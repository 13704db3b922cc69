"""Mutations that know the format: they change meaning and then make every checksum, length and digest right again.

Damage by accident is caught by checksums; these files reach the parser and the decoders behind them.
"""

import copy
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forge import Forge, Section, Value, cbor

from featherweight.encodings import payload
from featherweight.errors import FormatError

SIZES = [
    0,
    1,
    2,
    3,
    7,
    8,
    23,
    24,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**32,
    2**48,
    2**53 - 1,
    2**53,
    2**63 - 1,
]
TEXTS = [
    "",
    "a",
    "weight",
    "x" * 256,
    "a/b",
    "a\0",
    "a.",
    "add",
    "linear",
    "inf",
    "nan",
    "tuple",
    "dict",
    "float32",
    "ü",
]
SCALARS = [None, True, False, 0.0, -1.5, 1e-3, -1, -(2**63), [], [[]], Value(0), Value(10**6), b"", b"abc"]


@dataclass
class Parts:
    """A file taken apart: `header` as nested lists, `bodies` the bytes of the sections."""

    header: list[Any]
    bodies: list[bytes]
    decoded: int
    flags: int
    minor: int


def take_apart(data: bytes) -> Parts:
    """The parts of a right file."""
    _, _, minor, flags, length, decoded = struct.unpack_from("<8sBBHIQ", data)
    header, _ = uncbor(data, 40)
    position, bodies = 40 + length, []
    for size in [section_length(tensor) for tensor in header[0]] + [extra[2] for extra in header[3]]:
        position += -position % 64 if size >= 65536 else 0
        bodies.append(data[position : position + size])
        position += size + 4
    return Parts(header, bodies, decoded, flags, minor)


def section_length(tensor: Any) -> int:
    return payload.inspect(tuple(tensor[-2]), tuple(tensor[-1])).length


def put_together(parts: Parts, header: bytes | None = None) -> bytes:
    """A file of these parts, all checksums right; sections are named as the header names them where it does."""
    names = _whole_names(_listed(parts.header, 0)) + [_name(record) for record in _listed(parts.header, 3)]
    names += [""] * (len(parts.bodies) - len(names))
    sections = [Section(name, body) for name, body in zip(names, parts.bodies, strict=False)]
    raw = cbor(parts.header) if header is None else header
    return Forge(extras=sections, header=raw, decoded=parts.decoded, flags=parts.flags, minor=parts.minor).build()


def _listed(header: Any, place: int) -> list[Any]:
    found = header[place] if isinstance(header, list) and len(header) > place else []
    return found if isinstance(found, list) else []


def _name(record: Any) -> str:
    return record[0] if isinstance(record, list) and record and isinstance(record[0], str) else ""


def _whole_names(tensors: list[Any]) -> list[str]:
    """The names of tensors, what they share with the one before put in front where the header makes sense."""
    names: list[str] = []
    for tensor in tensors:
        if isinstance(tensor, list) and len(tensor) == 4 and isinstance(tensor[0], int) and isinstance(tensor[1], str):
            names.append((names[-1] if names else "")[: max(tensor[0], 0)] + tensor[1])
        else:
            names.append(_name(tensor))
    return names


def uncbor(data: bytes, at: int) -> tuple[Any, int]:
    """One value of a right header and the place behind it."""
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if low in (20, 21, 22):
            return {20: False, 21: True, 22: None}[low], at
        form = {25: ">e", 26: ">f", 27: ">d"}[low]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    number = low
    if low >= 24:
        width = 1 << (low - 24)
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major in (0, 1):
        return number if major == 0 else -1 - number, at
    if major in (2, 3):
        raw = data[at : at + number]
        return raw if major == 2 else raw.decode(), at + number
    if major == 6:
        index, at = uncbor(data, at)
        return Value(index), at
    items = []
    for _ in range(number):
        item, at = uncbor(data, at)
        items.append(item)
    return items, at


# mutations -------------------------------------------------------------------------------------------------------


def places(tree: Any) -> list[tuple[list[Any], int]]:
    """Every list of the header with each index into it."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            found += [(node, index) for index in range(len(node))]
            todo += node
    return found


def other_scalar(value: Any, rng: random.Random) -> Any:
    kind = rng.randrange(8)
    if isinstance(value, bool) or value is None or kind == 0:
        return rng.choice(SCALARS)
    if isinstance(value, int):
        return rng.choice([value + 1, max(value - 1, 0), 2 * value, value ^ 1 << rng.randrange(8), *SIZES])
    if isinstance(value, str):
        return rng.choice([value[:-1], value + "a", value.upper(), *TEXTS])
    if isinstance(value, Value):
        return Value(rng.choice([value.index + 1, max(value.index - 1, 0), rng.randrange(20)]))
    if isinstance(value, float):
        return rng.choice([0.0, -value, value * 2, 1e308, 5e-324])
    return rng.choice(SCALARS)


def change_header(parts: Parts, rng: random.Random) -> None:
    """Changes, drops, doubles, swaps or moves something in the header."""
    found = places(parts.header)
    owner, index = rng.choice(found)
    kind = rng.randrange(10)
    if kind < 5 and not isinstance(owner[index], list):
        owner[index] = copy.deepcopy(other_scalar(owner[index], rng))
    elif kind == 5:
        del owner[index]
    elif kind == 6:
        owner.insert(index, copy.deepcopy(owner[index]))
    elif kind == 7:
        other = rng.randrange(len(owner))
        owner[index], owner[other] = owner[other], owner[index]
    elif kind == 8:
        source, place = rng.choice(found)
        owner[index] = copy.deepcopy(source[place])
    else:
        owner[index] = copy.deepcopy(rng.choice(SCALARS + TEXTS + SIZES))


def change_spec(parts: Parts, rng: random.Random) -> None:
    """Changes one number of a spec or shape, and the section's length with it so that the sections still tile."""
    if not _listed(parts.header, 0):
        return
    number = rng.randrange(len(parts.header[0]))
    tensor = parts.header[0][number]
    if number >= len(parts.bodies) or not isinstance(tensor, list) or len(tensor) not in (3, 4):
        return  # broken by an earlier change
    numbers = tensor[rng.choice([-2, -1, -1, -1])]
    if not isinstance(numbers, list) or not numbers:
        return
    index = rng.randrange(len(numbers))
    changed = other_scalar(numbers[index], rng) if rng.random() < 0.9 else rng.randrange(300)
    numbers[index] = copy.deepcopy(changed)
    try:
        wanted = section_length(tensor)
    except (FormatError, TypeError):
        return
    if wanted < 10_000:
        parts.bodies[number] = parts.bodies[number][:wanted].ljust(wanted, b"\0")


def change_body(parts: Parts, rng: random.Random) -> None:
    """Flips, sets, moves or copies bytes of a section; its length stays."""
    filled = [index for index, body in enumerate(parts.bodies) if body]
    if not filled:
        return
    number = rng.choice(filled)
    body = bytearray(parts.bodies[number])
    place = rng.randrange(len(body))
    kind = rng.randrange(6)
    if kind < 2:
        body[place] ^= 1 << rng.randrange(8)
    elif kind == 2:
        body[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif kind == 3:
        other = rng.choice(parts.bodies)
        piece = other[: rng.randrange(len(other) + 1)]
        body[place : place + len(piece)] = piece
    elif kind == 4:
        body[place:] = rng.randbytes(len(body) - place)
    else:
        del body[place]
        body.insert(rng.randrange(len(body) + 1), rng.randrange(256))
    parts.bodies[number] = bytes(body[: len(parts.bodies[number])]).ljust(len(parts.bodies[number]), b"\0")


def change_prefix(parts: Parts, rng: random.Random) -> None:
    """Changes flags, minor version or decoded size."""
    kind = rng.randrange(3)
    if kind == 0:
        parts.flags ^= 1 << rng.choice([0, 0, 0, 1, 15])
    elif kind == 1:
        parts.minor = rng.randrange(256)
    else:
        parts.decoded = rng.choice([0, min(parts.decoded, 2**52) + 1, 2**53 - 1, 2**53, 2**64 - 1])


CHANGES: list[Callable[[Parts, random.Random], None]] = [
    change_header,
    change_header,
    change_spec,
    change_spec,
    change_body,
    change_body,
    change_body,
    change_prefix,
]


def mutant(data: bytes, rng: random.Random) -> bytes:
    """One hostile version of a right file."""
    parts = take_apart(data)
    decoded = parts.decoded
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(CHANGES)(parts, rng)
        if not isinstance(parts.header, list) or len(parts.header) != 4:
            break
    if parts.decoded == decoded and rng.random() < 0.95:
        parts.decoded = announced(parts)
    header = cbor(parts.header)
    if rng.random() < 0.05:
        broken = bytearray(header)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        header = bytes(broken)
    return put_together(parts, header)


def announced(parts: Parts) -> int:
    """The decoded size that belongs to the header, as far as it makes sense."""
    try:
        plans = [payload.inspect(tuple(tensor[-2]), tuple(tensor[-1])) for tensor in parts.header[0]]
        total = sum(plan.decoded_bytes for plan in plans) + sum(extra[2] for extra in parts.header[3])
        return min(max(int(total), 0), 2**64 - 1)
    except (FormatError, TypeError, IndexError, KeyError):
        return parts.decoded
