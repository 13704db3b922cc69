"""Where the bytes of a file come from: read piece by piece, mapped into memory, or already there."""

import errno
import mmap
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

from featherweight.errors import FormatError, StorageError

Bytes = bytes | memoryview


class Source(ABC):
    """Random access to the bytes of a file of fixed `size`."""

    name: str  # for errors
    size: int  # bytes

    @abstractmethod
    def read(self, offset: int, length: int) -> Bytes:
        """`length` bytes from `offset`; both lie within the file.

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

    def read(self, offset: int, length: int) -> Bytes:
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

    def read(self, offset: int, length: int) -> Bytes:
        """See Source.read."""
        pieces, left = [], length
        while left:
            try:
                piece = os.pread(self._descriptor, left, offset + length - left)
            except OSError as error:
                raise _unreadable(self.name, error) from error
            if not piece:
                raise _shorter(self.name, offset + length - left)
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """See Source.close."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class MappedSource(Source):
    """A file that is mapped into memory: only the pages that are looked at are read.

    Its length is looked at again before each access, so that a file cut short in the meantime gives an error. One
    that is cut during an access ends the process with SIGBUS: map only files that nobody changes in place. (Files
    that are replaced, as `save` does it, are safe.)

    Raises: FormatError for what is no regular file (it is not opened then), StorageError when it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._descriptor = _open(Path(path))
        self.size = os.fstat(self._descriptor).st_size
        self._map: mmap.mmap | None = None
        try:
            if self.size:  # an empty file cannot be mapped
                self._map = mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)
        except OSError as error:
            self.close()
            raise _unreadable(self.name, error) from error

    def read(self, offset: int, length: int) -> Bytes:
        """See Source.read."""
        if not length:
            return b""
        if self._map is None:
            raise StorageError("is closed", where=self.name, fix="Open it again.")
        now = os.fstat(self._descriptor).st_size
        if now < offset + length:
            raise _shorter(self.name, now)
        return memoryview(self._map)[offset : offset + length]

    def close(self) -> None:
        """See Source.close."""
        # the map itself goes when the last view of it goes: closing it earlier would be an error for its users
        self._map = None
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
