"""Writes files so that a reader sees the old one or the new one, and nothing between, whatever happens meanwhile.

The bytes go to a temporary file beside the target, which is flushed to the disk, renamed over the target, and made
durable by flushing the directory. A crash can leave the temporary file behind; the next save in that directory
removes those that are older than an hour and whose process is dead.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from featherweight.errors import StorageError

STRAY_AGE = 3600.0  # seconds after which the temporary file of a dead process is removed

_STRAY = re.compile(r"\.fw-(\d+)-[0-9a-f]{16}\.tmp")
_ADVICE = {
    errno.ENOSPC: "Free some space or write elsewhere.",
    errno.EDQUOT: "The disk quota is used up: free some space or write elsewhere.",
    errno.EFBIG: "The file size limit is too small: raise it (ulimit -f) or write elsewhere.",
    errno.EROFS: "The file system is read-only: write elsewhere.",
    errno.EACCES: "Permission is missing: write elsewhere.",
    errno.EPERM: "Permission is missing: write elsewhere.",
    errno.ENOENT: "Create the directory first.",
    errno.ENOTDIR: "A part of the path is no directory: write elsewhere.",
}


@contextmanager
def replacing(path: str | Path, *, size: int = 0) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path`, complete and durable, when the block ends without an error.

    A file that was there keeps its mode bits and, on any error or interruption, its content. A symbolic link is
    replaced, not followed. `size`, in bytes, is what will be written if that is known: errors name it.

    Raises: StorageError, naming the path, the bytes needed and the way out.
    """
    target = Path(path)
    with storage_errors(target, size):
        mode = _mode_of(target)
        sweep(target.parent)
        temporary = target.parent / f".fw-{os.getpid()}-{secrets.token_hex(8)}.tmp"
        try:
            with _create(temporary, mode) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _flush_directory(target.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Makes `data` (text as UTF-8) the content of the file `path`: all of it, or the old content stays.

    Raises: StorageError.
    """
    content = data.encode() if isinstance(data, str) else data
    with replacing(path, size=len(content)) as file:
        file.write(content)


def sweep(directory: Path) -> None:
    """Removes the temporary files in `directory` that dead processes left there more than an hour ago."""
    horizon = time.time() - STRAY_AGE
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = _STRAY.fullmatch(entry.name)
            if match is None or _alive(int(match[1])):
                continue
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < horizon:
                    Path(entry.path).unlink()


@contextmanager
def storage_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turns an OSError of the block into a StorageError about `path`, where `size` bytes were to be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot be written: {reason}{_room(path, size, error)}",
            where=str(path),
            fix=_ADVICE.get(error.errno or 0, "Nothing was changed; write elsewhere."),
        ) from error


def _room(path: Path, size: int, error: OSError) -> str:
    if not size:
        return ""
    need = f"; {size} bytes are needed"
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            return f"{need}, {shutil.disk_usage(path.parent).free} are free"
    return need


def _mode_of(target: Path) -> int | None:
    """The mode bits that the new file takes over; refuses to replace what is no regular file (a device, say)."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise StorageError("is there already and is no regular file", where=str(target), fix="Name a file.")
    return stat.S_IMODE(found.st_mode) & 0o777


def _create(temporary: Path, mode: int | None) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # created with the narrower rights, so that what was private is at no moment readable by others
    descriptor = os.open(temporary, flags, 0o666 if mode is None else mode & 0o666)
    file = os.fdopen(descriptor, "wb")
    if mode is not None:
        try:
            temporary.chmod(mode)
        except OSError:
            file.close()
            raise
    return file


def _flush_directory(directory: Path) -> None:
    """Makes the rename itself durable; where directories cannot be flushed there is nothing to do."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _alive(process: int) -> bool:
    if os.name != "posix":  # signal 0 would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
