"""What is in a file, byte by byte: what `save` gives back and `featherweight show` prints."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from featherweight.container import cbor, names
from featherweight.container.reader import Reader
from featherweight.container.spec import CHECKSUM_BYTES, MINOR, TensorRecord
from featherweight.encodings import payload


@dataclass(frozen=True)
class TensorBytes:
    """One tensor of a file."""

    name: str
    shape: tuple[int, ...]
    encoding: str  # outermost first, as in "sparse(codebook(dense))"
    bytes: int  # as coded, without the checksum
    elements: int

    @property
    def bits_per_weight(self) -> float:
        """Coded bits for each element; 0 for an empty tensor."""
        return 8 * self.bytes / self.elements if self.elements else 0.0


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """Where the bytes of a file go. All counts are bytes unless they say otherwise; they sum up to `total_bytes`."""

    path: str
    version: tuple[int, int]
    total_bytes: int
    header_bytes: int  # graph included
    graph_bytes: int  # as a part of the header; 0 without a graph
    tensor_bytes: int
    extra_bytes: int
    checksum_bytes: int  # of the sections
    padding_bytes: int
    decoded_bytes: int
    nonfinite: bool
    sha256: str  # of all but the last 32 bytes
    tensors: tuple[TensorBytes, ...]
    aliases: dict[str, str]
    extras: dict[str, int]
    notes: tuple[str, ...]

    @property
    def overhead_bytes(self) -> int:
        """What is needed to run the file beyond the coded tensors: all but tensors and extra sections."""
        return self.total_bytes - self.tensor_bytes - self.extra_bytes

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        plain = asdict(self) | {"overhead_bytes": self.overhead_bytes}
        for row, tensor in zip(plain["tensors"], self.tensors, strict=True):
            row["bits_per_weight"] = tensor.bits_per_weight
        return plain


def report(reader: Reader) -> FileReport:
    """What an open file consists of; reads nothing but prefix, header and digest.

    Raises: StorageError when the file cannot be read any more.
    """
    header, sections = reader.header, reader.sections
    return FileReport(
        path=reader.name,
        version=(reader.prefix.major, reader.prefix.minor),
        total_bytes=reader.prefix.file_length,
        header_bytes=reader.prefix.header_length,
        graph_bytes=0 if header.graph is None else len(cbor.encode(header.graph)),
        tensor_bytes=sum(record.length for record in header.tensors),
        extra_bytes=sum(record.length for record in header.extras),
        checksum_bytes=CHECKSUM_BYTES * len(sections),
        padding_bytes=sum(section.padding for section in sections),
        decoded_bytes=reader.prefix.decoded_bytes,
        nonfinite=reader.prefix.nonfinite,
        sha256=reader.digest.hex(),
        tensors=tuple(_row(record) for record in header.tensors),
        aliases=reader.aliases,
        extras={record.name: record.length for record in header.extras},
        notes=tuple(_notes(reader, header.tensors)),
    )


def _row(record: TensorRecord) -> TensorBytes:
    return TensorBytes(
        record.name,
        record.shape,
        payload.describe(record.shape, record.spec),
        record.length,
        math.prod(record.shape),
    )


def _notes(reader: Reader, tensors: Sequence[TensorRecord]) -> list[str]:
    notes = [
        f"{name!r} differs from another name in upper and lower case only"
        for name in names.colliding([record.name for record in tensors])
    ]
    if reader.prefix.minor > MINOR:
        notes.append(f"written in version {reader.prefix.major}.{reader.prefix.minor}, newer than this release knows")
    return notes
