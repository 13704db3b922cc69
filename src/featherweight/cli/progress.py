"""Progress on stderr: bars on a terminal, plain lines in a log, silence with --json."""

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from featherweight.cli import output
from featherweight.cli.late import Late
from featherweight.report.text import one_line

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import progress as rich_progress
else:
    rich_console = Late("rich.console")
    rich_progress = Late("rich.progress")


class NoBar:
    """A bar that shows nothing."""

    def advance(self, amount: float = 1.0) -> None:
        """Does nothing."""


class Silent:
    """Progress that shows nothing."""

    def bar(self, label: str, total: float) -> AbstractContextManager[NoBar]:
        """A bar that shows nothing."""
        return nullcontext(NoBar())

    def note(self, text: str) -> None:
        """Drops the line."""


class Lines(Silent):
    """Progress in a log: news as lines, no bars."""

    def note(self, text: str) -> None:
        """One line on stderr."""
        output.news(text)


class LiveBar:
    """One bar of `Live`."""

    def __init__(self, display: "rich_progress.Progress", task: "rich_progress.TaskID") -> None:
        self._display, self._task = display, task

    def advance(self, amount: float = 1.0) -> None:
        """Moves on by `amount` of the total."""
        self._display.advance(self._task, amount)


class Live:
    """Bars on a terminal, one under the other where work is nested; each goes away when it is done."""

    def __init__(self, display: "rich_progress.Progress") -> None:
        self._display = display

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[LiveBar]:
        """A bar over `total` units of work; one that only says that something happens where that is infinite."""
        task = self._display.add_task(one_line(label), total=total if math.isfinite(total) else None)
        try:
            yield LiveBar(self._display, task)
        finally:
            self._display.remove_task(task)

    def note(self, text: str) -> None:
        """One line above the bars."""
        self._display.console.print(one_line(text), highlight=False, markup=False, emoji=False)


@contextmanager
def shown(*, quiet: bool) -> Iterator[Silent | Live]:
    """The progress that fits where stderr goes; nothing at all when `quiet`."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        with rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
            console=rich_console.Console(stderr=True),
            transient=True,
        ) as display:
            yield Live(display)


@contextmanager
def waiting(label: str, *, quiet: bool) -> Iterator[None]:
    """A bar without a measure around work that cannot say how far it is (loading torch, tracing, decoding)."""
    with shown(quiet=quiet) as progress:
        if isinstance(progress, Live):
            with progress.bar(label, total=float("inf")):
                yield
        else:
            yield
