"""The numbers of the `.fwt` format (docs/format.md) and the records that a header is made of."""

from dataclasses import dataclass, field
from typing import Any

from featherweight.encodings.payload import Plan

MAGIC = b"\x89FWT\r\n\x1a\n"  # not ASCII, and with both line ends: damage by a text-mode transfer shows
MAJOR, MINOR = 1, 0

FLAG_NONFINITE = 1  # some tensor holds NaN or infinity
KNOWN_FLAGS = FLAG_NONFINITE

PREFIX_BYTES = 40
CHECKSUM_BYTES = 4  # CRC-32 (IEEE), at the end of each section
DIGEST_BYTES = 32  # SHA-256, at the end of the file
MIN_FILE_BYTES = PREFIX_BYTES + 1 + DIGEST_BYTES

ALIGNED_FROM = 65_536  # sections of this many bytes or more begin at a multiple of ALIGNMENT
ALIGNMENT = 64

RECIPE, LEDGER, PROVENANCE = "recipe", "ledger", "provenance"  # extra sections that featherweight itself writes
SURGERY = "surgery"  # another one: how the structure was changed, graph/log.py


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What the header says of one tensor; `spec` is its encoding as in `encodings/payload.py`."""

    name: str
    shape: tuple[int, ...]
    spec: tuple[int, ...]
    plan: Plan = field(repr=False)  # what follows from shape and spec
    offset: int = 0  # of the record in the file, for errors

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return self.plan.length

    @property
    def decoded(self) -> int:
        """Bytes of the tensor."""
        return self.plan.decoded_bytes

    @property
    def working(self) -> int:
        """Bytes that decoding takes meanwhile, at most."""
        return self.plan.symbol_bytes


@dataclass(frozen=True)
class ExtraRecord:
    """What the header says of one section that holds no tensor. A reader must know it if it is critical."""

    name: str
    critical: bool
    length: int  # bytes
    offset: int = 0  # of the record in the file, for errors


@dataclass(frozen=True)
class Alias:
    """Another name of the tensor number `index`: one storage, kept once."""

    name: str
    index: int


@dataclass(frozen=True)
class Header:
    """All of the header. `graph` is plain data as in `graph/plain.py`, None for a file of weights alone."""

    tensors: tuple[TensorRecord, ...]
    graph: Any
    aliases: tuple[Alias, ...]
    extras: tuple[ExtraRecord, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Where one section lies: `padding` zero bytes, then `length` bytes from `start`, then their checksum."""

    index: int
    name: str
    start: int
    length: int
    padding: int

    @property
    def end(self) -> int:
        """The first byte behind the checksum."""
        return self.start + self.length + CHECKSUM_BYTES
