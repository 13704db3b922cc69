"""Progress that shows nothing: the default wherever a `Progress` is taken."""

from collections.abc import Iterator
from contextlib import contextmanager

from featherweight.core.context import Bar


class _SilentBar:
    def advance(self, amount: float = 1.0) -> None:
        """Takes note of nothing."""


class SilentProgress:
    """A `Progress` without output."""

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Bar]:
        """A bar that is not shown."""
        yield _SilentBar()

    def note(self, text: str) -> None:
        """Drops the news."""
