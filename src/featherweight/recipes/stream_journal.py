"""What a streaming run keeps: the coded tensors, one behind the other, and a line for each that is finished.

sections       the coded bytes; tensors lie where they were finished, in no order
journal.jsonl  for each finished tensor one line: checksum of the line (CRC-32, hex), a blank, the record as JSON

A record goes into the journal behind its bytes. A process that is killed leaves at most a torn last line or bytes that
no line speaks of; a machine that loses its power may leave lines whose bytes are not there. Both are noticed by the
checksums when the run is taken up, and such tensors are done again.
"""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from featherweight.core.atomic import storage_errors
from featherweight.core.checksum import crc32

SECTIONS, JOURNAL = "sections", "journal.jsonl"

_PIECE = 1 << 22  # bytes read at a time


@dataclass(frozen=True)
class Finished:
    """One tensor that is done: its number, spec and coded bytes, and what else the end of the run has to know."""

    index: int
    spec: tuple[int, ...]
    start: int  # byte of the sections
    length: int  # bytes
    checksum: int  # CRC-32 of the bytes
    finite: bool
    source: str  # SHA-256 of the values in the checkpoint, in hex
    seconds: tuple[float, ...]  # that each step took


@dataclass(frozen=True)
class Span:
    """The bytes of one section, wherever in a file they lie; a body for container.writer."""

    path: Path
    start: int
    length: int

    def __call__(self) -> bytes:
        """All of them."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Piece by piece. A file that ends before gives fewer."""
        with storage_errors(self.path), self.path.open("rb", buffering=0) as file:
            file.seek(self.start)
            left = self.length
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece


class Journal:
    """The finished tensors of a run directory that this process owns. Several threads may `add` at once.

    Raises: StorageError when the files cannot be read or written.
    """

    def __init__(self, directory: Path) -> None:
        self._sections, self._lines = directory / SECTIONS, directory / JOURNAL
        self._lock = threading.Lock()
        self.finished = {item.index: item for item in self._sound()}
        self._end = max((item.start + item.length for item in self.finished.values()), default=0)
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        with storage_errors(directory):
            self._data = os.open(self._sections, flags, 0o644)
            self._log = os.open(self._lines, flags, 0o644)
            os.ftruncate(self._data, self._end)
            if self._lines.stat().st_size:
                _write_all(self._log, b"\n", os.lseek(self._log, 0, os.SEEK_END))  # behind a line that may be torn

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._data)
        os.close(self._log)

    def add(self, data: bytes, **known: object) -> Finished:
        """Keeps the coded bytes of a tensor and the fields of its record that are not about them."""
        with self._lock:
            start, self._end = self._end, self._end + len(data)
        with storage_errors(self._sections, start + len(data)):
            _write_all(self._data, data, start)
        made = Finished(start=start, length=len(data), checksum=crc32(data), **known)  # type: ignore[arg-type]  # the caller's fields
        with self._lock:
            self._write_line(made)
            self.finished[made.index] = made
        return made

    def body(self, index: int) -> Span:
        """The coded bytes of tensor number `index`, which is finished."""
        item = self.finished[index]
        return Span(self._sections, item.start, item.length)

    def remove(self) -> None:
        """Deletes the files: what they held is in the result."""
        self._sections.unlink(missing_ok=True)
        self._lines.unlink(missing_ok=True)

    def _write_line(self, item: Finished) -> None:
        text = json.dumps(asdict(item), separators=(",", ":")).encode()
        with storage_errors(self._lines):
            end = os.lseek(self._log, 0, os.SEEK_END)
            _write_all(self._log, b"%08x %s\n" % (crc32(text), text), end)

    def _sound(self) -> Iterator[Finished]:
        """The records of an earlier sitting whose lines and bytes are whole."""
        if not self._lines.is_file() or not self._sections.is_file():
            return
        with storage_errors(self._lines):
            lines = self._lines.read_bytes().split(b"\n")
        for line in lines:
            item = _record(line)
            if item is not None and self._checksum(item) == item.checksum:
                yield item

    def _checksum(self, item: Finished) -> int | None:
        checksum, length = 0, 0
        for piece in Span(self._sections, item.start, item.length).pieces():
            checksum, length = crc32(piece, checksum), length + len(piece)
        return checksum if length == item.length else None


def _record(line: bytes) -> Finished | None:
    """The record of a line; None for one that was torn or damaged."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % crc32(text):
        return None
    values = json.loads(text)
    return Finished(**{**values, "spec": tuple(values["spec"]), "seconds": tuple(values["seconds"])})


def _write_all(file: int, data: bytes, start: int) -> None:
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.pwrite(file, view[done:], start + done)
