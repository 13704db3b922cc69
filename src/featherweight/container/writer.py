"""Writes a `.fwt` file from its header and its sections, one section in memory at a time."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, runtime_checkable

from featherweight.container import header as headers
from featherweight.container import layout
from featherweight.container.limits import MAX_SIZE, Limits
from featherweight.container.prefix import Prefix
from featherweight.container.spec import CHECKSUM_BYTES, FLAG_NONFINITE, MINOR, Header, Section
from featherweight.core.atomic import replacing, storage_errors
from featherweight.core.checksum import crc32
from featherweight.errors import FormatError, UsageError

Body = Callable[[], bytes]
"""Gives the bytes of one section when they are wanted."""


@runtime_checkable
class InPieces(Protocol):
    """A body that can be had a piece at a time, so that a large section never lies in memory as a whole."""

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the section, in order."""
        ...


_WORTH_A_THREAD = 1 << 16  # bytes that take longer to hash than to hand over
_IN_MEMORY = 16 * 2**20  # coded sections up to this size wait in memory, beyond it in an unnamed file


@dataclass(frozen=True)
class Contents:
    """All that goes into a file; `bodies` are the sections in the order of the header's records."""

    header: Header
    bodies: Sequence[Body]
    nonfinite: bool
    minor: int = MINOR


def write(path: str | Path, contents: Contents) -> None:
    """Writes the file. What was there stays until the new file is complete.

    Raises: UsageError for names or sizes that no reader accepts, StorageError when the file cannot be written.
    """
    header, sections = _placed(contents)
    with replacing(path, size=layout.file_length(sections, len(header))) as file:
        for piece in _pieces(contents, header, sections):
            file.write(piece)


def pieces(contents: Contents) -> Iterator[bytes]:
    """All bytes of the file, in order.

    Raises: UsageError for names or sizes that no reader accepts.
    """
    return _pieces(contents, *_placed(contents))


def _placed(contents: Contents) -> tuple[bytes, tuple[Section, ...]]:
    header = headers.to_bytes(contents.header)
    _check_readable(header)
    return header, layout.sections(contents.header, len(header))


def _pieces(contents: Contents, header: bytes, sections: tuple[Section, ...]) -> Iterator[bytes]:
    prefix = Prefix(
        minor=contents.minor,
        flags=FLAG_NONFINITE if contents.nonfinite else 0,
        header_length=len(header),
        decoded_bytes=headers.decoded_bytes(contents.header),
        file_length=layout.file_length(sections, len(header)),
        header_checksum=crc32(header),
    )
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as aside:  # a piece goes into the digest while it is written
        before: Future[None] | None = None
        for piece in chain([prefix.to_bytes(), header], _bodies(sections, contents.bodies)):
            if before is not None:
                before.result()
                before = None
            if len(piece) < _WORTH_A_THREAD:
                digest.update(piece)
            else:
                before = aside.submit(digest.update, piece)
            yield piece
        if before is not None:
            before.result()
    yield digest.digest()


def _bodies(sections: Sequence[Section], bodies: Sequence[Body]) -> Iterator[bytes]:
    for section, body in zip(sections, bodies, strict=True):
        yield bytes(section.padding)
        checksum, length = layout.checksum(section, b""), 0
        for piece in body.pieces() if isinstance(body, InPieces) else (body(),):
            checksum, length = crc32(piece, checksum), length + len(piece)
            yield piece
        if length != section.length:
            raise UsageError(f"a section of {section.length} bytes", where=section.name, value=length)
        yield checksum.to_bytes(CHECKSUM_BYTES, "little")


def _check_readable(header: bytes) -> None:
    """Reads the header again: what a reader with the default limits refuses is not written at all."""
    try:
        if len(header) > Limits.header_bytes:
            raise FormatError("E_HEADER_SIZE", "the header is too long", section="header", value=len(header))
        headers.from_bytes(header, Limits(decoded_bytes=MAX_SIZE))
    except FormatError as error:
        raise UsageError(
            f"cannot be kept in a .fwt file: {error.what}", where=error.section, value=error.value, fix=error.fix
        ) from error


class Spool:
    """Keeps coded sections until the header, which comes before them in the file, is known.

    Small ones wait in memory, large ones in a file without a name in the target's directory, so that nothing is left
    behind by any end of the process.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        with storage_errors(self._path):
            self._path.parent.stat()  # a directory that is not there is better told before the work than after it
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._path.parent))  # noqa: SIM115  # __exit__ closes it
        self._length = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, data: bytes) -> Body:
        """Keeps `data`; the result gives it back, any time before the spool is closed.

        Raises: StorageError when there is no room for it.
        """
        start, length = self._length, len(data)
        with storage_errors(self._path, start + length):
            self._file.seek(start)
            self._file.write(data)
        self._length += length
        return lambda: self._get(start, length)

    def _get(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)
