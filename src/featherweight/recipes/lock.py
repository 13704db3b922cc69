"""One living process for one run directory. A dead owner is replaced at once.

The file `lock` names its owner by process number, boot and start time of the process, so that a number that was given
out again is not mistaken for the owner. The file is read and written under a short advisory lock of the kernel; the
kernel lock alone would not do, because children that outlive the owner inherit it.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featherweight.errors import LockedError, StorageError

if sys.platform != "win32":
    import fcntl

NAME = "lock"


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Owns `directory` while the context is open.

    Raises: LockedError when another living process owns it; StorageError when the file cannot be written.
    """
    path, me = directory / NAME, identity(os.getpid())
    with _record(path) as file:
        owner = _read(file)
        if owner is not None and is_alive(owner):
            raise LockedError(
                f"process {owner['pid']} is working in this run directory",
                where=str(directory),
                fix="Wait for it, stop it, or name another directory.",
            )
        _write(file, json.dumps(me))
    try:
        yield
    finally:
        with contextlib.suppress(StorageError), _record(path) as file:
            if _read(file) == me:
                _write(file, "")


def identity(process: int) -> dict[str, Any]:
    """What tells a process from every other one, ever: number, boot, start time in clock ticks since the boot."""
    return {"pid": process, "boot": _boot(), "start": _start(process)}


def is_alive(owner: dict[str, Any]) -> bool:
    """Whether the process of this identity still runs on this machine since this boot."""
    if owner.get("boot") != _boot():
        return False
    process = owner.get("pid")
    if not isinstance(process, int) or process <= 0:
        return False
    if _start(process) != owner.get("start"):
        return False
    if sys.platform == "win32":  # signal 0 would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _start(process: int) -> int | None:
    """Field 22 of /proc/<pid>/stat; None where there is no such process, it is a zombie, or no /proc."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # the name in parentheses may hold blanks and parentheses itself
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None


@contextmanager
def _record(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError as error:
        raise StorageError(
            f"the lock cannot be written: {error.strerror}", where=str(path), fix="Name a directory you can write to."
        ) from error
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _read(file: int) -> dict[str, Any] | None:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(file, 4096))
    except ValueError:
        return None  # empty, or torn by a kill while it was written: that owner is dead
    return owner if isinstance(owner, dict) else None


def _write(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)
