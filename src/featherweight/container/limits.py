"""What a reader is willing to spend on a file before it trusts anything in it."""

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path

from featherweight.errors import FormatError, UsageError

MAX_SIZE = 2**53 - 1  # the largest size anywhere in the format: every reader, JavaScript too, holds it exactly

_HARD = {
    "header_bytes": 100_000_000,
    "header_items": 2**24,
    "depth": 16,
    "tensors": 2**20,
    "name_bytes": 255,
    "rank": 32,
    "dimension": 2**48,
    "elements": MAX_SIZE,
    "extras": 1024,
    "extra_bytes": 2**30,
    "decoded_bytes": MAX_SIZE,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budget of a reader. A file that needs more is refused with E_BUDGET before the memory is taken.

    Each field can be raised by the caller up to the hard maximum of docs/format.md, never by the file.
    """

    header_bytes: int = 16 * 2**20
    header_items: int = 2**20  # values in the header; each costs at most some 64 bytes of memory
    depth: int = 16  # of nested arrays in the header
    tensors: int = 65_536  # tensors and aliases together
    name_bytes: int = 255  # of a name in UTF-8
    rank: int = 8
    dimension: int = 2**31 - 1
    elements: int = 2**40  # of one tensor
    extras: int = 64  # extra sections
    extra_bytes: int = 16 * 2**20  # of one extra section
    decoded_bytes: int | None = None  # of all sections decoded; None: 16 GiB or half the free memory, the smaller
    seconds: float | None = None  # for loading, looked at all the time; None: no deadline

    def __post_init__(self) -> None:
        for name, most in _HARD.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"a limit lies between 0 and {most}", where=f"Limits.{name}", value=value)
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError("a deadline is more than 0 seconds", where="Limits.seconds", value=self.seconds)

    @classmethod
    def untrusted(cls, **changes: int | float | None) -> "Limits":
        """Tighter limits for files from strangers, as a server or a web page wants them.

        Raises: UsageError for a limit that does not exist or is out of range.
        """
        unknown = set(changes) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise UsageError("there is no such limit", where="Limits", value=sorted(unknown))
        tight = cls(
            header_bytes=2**20,
            header_items=2**18,
            tensors=4096,
            name_bytes=128,
            dimension=2**24,
            elements=2**28,
            extras=16,
            extra_bytes=2**16,
            decoded_bytes=512 * 2**20,
        )
        return dataclasses.replace(tight, **changes)  # type: ignore[arg-type]  # __post_init__ checks the values

    def budget(self) -> int:
        """Decoded bytes that a file may have, now."""
        if self.decoded_bytes is not None:
            return self.decoded_bytes
        return min(16 * 2**30, free_memory() // 2)


class Deadline:
    """A clock that starts when it is made."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds, self._start = seconds, time.monotonic()

    @property
    def limited(self) -> bool:
        """Whether there is an end at all."""
        return self._seconds is not None

    def check(self, section: str, offset: int) -> None:
        """Raises FormatError E_DEADLINE when the time is over."""
        if self._seconds is not None and time.monotonic() - self._start > self._seconds:
            raise FormatError(
                "E_DEADLINE",
                "loading takes longer than the limit allows",
                section=section,
                offset=offset,
                value=f"{self._seconds} s",
                fix="Give more time with Limits(seconds=...).",
            )


def free_memory() -> int:
    """Bytes that can be taken without swapping; 16 GiB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30
