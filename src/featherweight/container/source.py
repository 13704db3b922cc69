"""Where the bytes of a file come from: read piece by piece, or already there.

Files are read and never mapped. A mapped file that somebody cuts short ends the process that looks at it with SIGBUS,
which a library cannot turn into an error without taking over a signal of its caller's; a read just comes out short.
"""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from featherweight.core.patience import Check, never
from featherweight.errors import FormatError, StorageError

Bytes = bytes | memoryview

PIECE_BYTES = 1 << 22  # read, summed up or hashed between two calls of a Check


def in_pieces(data: Bytes, check: Check) -> Iterator[memoryview]:
    """`data`, 4 MiB at a time, with a call of `check` before each."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        check()
        yield view[start : start + PIECE_BYTES]


class Source(ABC):
    """Random access to the bytes of a file of fixed `size`."""

    name: str  # for errors
    size: int  # bytes

    @abstractmethod
    def read(self, offset: int, length: int, check: Check = never) -> Bytes:
        """`length` bytes from `offset`; both lie within the file. `check` is called before each 4 MiB that are read.

        Raises: StorageError when the file has become shorter or cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives the file back. Harmless when done twice."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MemorySource(Source):
    """A file that lies in memory as a whole."""

    def __init__(self, data: Bytes, name: str = "bytes in memory") -> None:
        self.name, self.size, self._data = name, len(data), memoryview(data).cast("B")

    def read(self, offset: int, length: int, check: Check = never) -> Bytes:
        """See Source.read."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """See Source.close."""


class FileSource(Source):
    """A file that is read piece by piece: what was read once does not change any more.

    Raises: FormatError for what is no regular file (it is not opened then), StorageError when it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._descriptor = _open(Path(path))
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int, check: Check = never) -> Bytes:
        """See Source.read."""
        data, done = np.empty(length, np.uint8).data, 0  # bytearray() would write zeros all over it first
        while done < length:
            check()
            try:
                piece = os.pread(self._descriptor, min(length - done, PIECE_BYTES), offset + done)
            except OSError as error:
                raise _unreadable(self.name, error) from error
            if not piece:
                raise _shorter(self.name, os.fstat(self._descriptor).st_size)
            data[done : done + len(piece)] = piece
            done += len(piece)
        return data

    def close(self) -> None:
        """See Source.close."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(path: Path) -> int:
    try:
        _check_regular(path, path.stat().st_mode)  # before opening: opening a pipe waits for its writer
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise _unreadable(str(path), error) from error
    except ValueError as error:  # a NUL in the path
        raise StorageError("is no path", where="open", value=str(path)) from error
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except FormatError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise FormatError("E_MAGIC", f"{path} is {kind} and no regular file", value=kind, fix="Give a .fwt file.")


def _unreadable(name: str, error: OSError) -> StorageError:
    fix = "Check the path." if error.errno in (errno.ENOENT, errno.ENOTDIR) else "Check the permissions and the disk."
    return StorageError(f"cannot be read: {error.strerror or error}", where=name, fix=fix)


def _shorter(name: str, size: int) -> StorageError:
    return StorageError("became shorter while it was open", where=name, value=size, fix="Open it again.")
