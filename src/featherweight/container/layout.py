"""Where the sections lie. They tile the file: each begins where the one before ends, the last ends at the digest."""

from featherweight.container.source import Bytes, in_pieces
from featherweight.container.spec import (
    ALIGNED_FROM,
    ALIGNMENT,
    DIGEST_BYTES,
    PREFIX_BYTES,
    ExtraRecord,
    Header,
    Section,
    TensorRecord,
)
from featherweight.core.checksum import crc32
from featherweight.core.patience import Check, never


def sections(header: Header, header_length: int) -> tuple[Section, ...]:
    """All sections in the order of the file: tensors, then extras. O(number of sections)."""
    found = []
    position = PREFIX_BYTES + header_length
    records: list[TensorRecord | ExtraRecord] = [*header.tensors, *header.extras]
    for index, record in enumerate(records):
        padding = -position % ALIGNMENT if record.length >= ALIGNED_FROM else 0
        section = Section(index, record.name, position + padding, record.length, padding)
        found.append(section)
        position = section.end
    return tuple(found)


def file_length(placed: tuple[Section, ...], header_length: int) -> int:
    """Bytes of the whole file, digest included."""
    return (placed[-1].end if placed else PREFIX_BYTES + header_length) + DIGEST_BYTES


def checksum(section: Section, data: Bytes, check: Check = never) -> int:
    """CRC-32 of a section, bound to its number and name: a section at another one's place is noticed.

    `check` is called every 4 MiB.
    """
    found = crc32(section.index.to_bytes(4, "little") + section.name.encode() + b"\0")
    for piece in in_pieces(data, check):
        found = crc32(piece, found)
    return found
