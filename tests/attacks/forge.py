"""Builds `.fwt` files by hand after docs/format.md, with every field open to lies and every checksum right.

Shares no code with featherweight, so that the writer and this page check each other.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

MAGIC = bytes([0x89]) + b"FWT\r\n\x1a\n"


class Verbatim(bytes):
    """Bytes that stand for themselves in `cbor`."""


@dataclass(frozen=True)
class Value:
    """A reference to value number `index` of the graph."""

    index: int


def head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major * 32 + number])
    for code, form, most in ((24, ">B", 2**8), (25, ">H", 2**16), (26, ">I", 2**32)):
        if number < most:
            return bytes([major * 32 + code]) + struct.pack(form, number)
    return bytes([major * 32 + 27]) + struct.pack(">Q", number)


def cbor(value: Any) -> bytes:
    if isinstance(value, Verbatim):
        return bytes(value)
    if isinstance(value, Value):
        return b"\xc6" + head(0, value.index)
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return shortest(value)
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    return head(4, len(value)) + b"".join(cbor(item) for item in value)


def shortest(value: float) -> bytes:
    for first, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            raw = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, raw)[0] == value:
            return first + raw
    return b"\xfb" + struct.pack(">d", value)


def named_after(names: list[str]) -> list[list[Any]]:
    """Names as they begin the entry of a tensor: what two or more characters share with the one before is counted."""
    found = []
    for before, name in zip(["", *names], names, strict=False):
        shared = 0
        while shared < min(len(before), len(name)) and before[shared] == name[shared]:
            shared += 1
        found.append([shared, name[shared:]] if shared > 1 else [name])
    return found


@dataclass
class Section:
    """A tensor or an extra section; `checksum` overrides the right one, `padding` the right zeros."""

    name: str
    data: bytes
    shape: Any = ()
    spec: Any = ()
    critical: bool = False
    length: int | None = None
    checksum: int | None = None
    padding: bytes | None = None


@dataclass
class Forge:
    """A file. What is None is worked out; what is set is written as it is."""

    tensors: list[Section] = field(default_factory=list)
    graph: Any = None
    aliases: list[Any] = field(default_factory=list)
    extras: list[Section] = field(default_factory=list)
    decoded: int = 0
    magic: bytes = MAGIC
    major: int = 1
    minor: int = 0
    flags: int = 0
    header: bytes | None = None
    header_length: int | None = None
    header_checksum: int | None = None
    prefix_checksum: int | None = None
    length: int | None = None
    digest: bytes | None = None
    tail: bytes = b""

    def build(self) -> bytes:
        header = self.header if self.header is not None else self.make_header()
        body, position = b"", 40 + len(header)
        for index, section in enumerate([*self.tensors, *self.extras]):
            piece = self._section(index, section, position)
            body, position = body + piece, position + len(piece)
        length = position + 32 if self.length is None else self.length
        start = struct.pack(
            "<8sBBHIQQI",
            self.magic,
            self.major,
            self.minor,
            self.flags,
            len(header) if self.header_length is None else self.header_length,
            self.decoded,
            length,
            zlib.crc32(header) if self.header_checksum is None else self.header_checksum,
        )
        checksum = zlib.crc32(start) if self.prefix_checksum is None else self.prefix_checksum
        whole = start + struct.pack("<I", checksum) + header + body
        return whole + (hashlib.sha256(whole).digest() if self.digest is None else self.digest) + self.tail

    def make_header(self) -> bytes:
        named = zip(named_after([tensor.name for tensor in self.tensors]), self.tensors, strict=True)
        tensors = [[*name, tensor.shape, tensor.spec] for name, tensor in named]
        extras = [
            [extra.name, extra.critical, len(extra.data) if extra.length is None else extra.length]
            for extra in self.extras
        ]
        return cbor([tensors, self.graph, self.aliases, extras])

    def _section(self, index: int, section: Section, position: int) -> bytes:
        padding = section.padding
        if padding is None:
            padding = bytes(-position % 64 if len(section.data) >= 65536 else 0)
        right = zlib.crc32(struct.pack("<I", index) + section.name.encode() + b"\0" + section.data)
        return padding + section.data + struct.pack("<I", right if section.checksum is None else section.checksum)
