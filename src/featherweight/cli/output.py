"""What goes to the screen: data on stdout, news on stderr."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from featherweight.cli.late import Late
from featherweight.errors import StorageError, UsageError
from featherweight.report.text import one_line, visible

if TYPE_CHECKING:
    from rich import box
    from rich import console as rich_console
    from rich import table as rich_table
    from rich import text as rich_text
else:
    box = Late("rich.box")
    rich_console = Late("rich.console")
    rich_table = Late("rich.table")
    rich_text = Late("rich.text")


class OutputError(StorageError):
    """A target that cannot be created where it was asked for."""

    exit_code: ClassVar[int] = 73


class NoPermissionError(OutputError):
    """A target in a place that this user may not write to."""

    exit_code: ClassVar[int] = 77


def document(data: Mapping[str, Any]) -> None:
    """Prints one JSON document on stdout: ASCII, so that any terminal and pipe can carry it; NaN becomes null."""
    print(json.dumps(_finite(data), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)


def news(text: object) -> None:
    """Prints one line on stderr."""
    print(one_line(text), file=sys.stderr, flush=True)


def line(text: object = "") -> None:
    """Prints one line on stdout, with what the terminal cannot show replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    print(visible(text).encode(encoding, "replace").decode(encoding))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1, total: bool = False) -> None:
    """Prints a table on stdout: the first `left` columns to the left, the others right-aligned.

    With `total` the last row is set off from the others.
    """
    grid = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for index, title in enumerate(columns):
        name = index < left  # names may fold on a narrow terminal, numbers never do
        grid.add_column(title, justify="left" if name else "right", overflow="fold", no_wrap=not name)
    for index, row in enumerate(rows):
        last = total and index == len(rows) - 1
        grid.add_row(
            *(rich_text.Text(visible(cell)) for cell in row),
            style="bold" if last else None,
            end_section=total and index == len(rows) - 2,
        )
    screen().print(grid)


def screen() -> "rich_console.Console":
    """stdout as rich sees it; in a pipe as wide as its content needs, so that nothing is cut."""
    console = rich_console.Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    return (
        console
        if console.is_terminal
        else rich_console.Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=200)
    )


def check_target(path: Path, *, what: str = "output") -> Path:
    """`path`, when a file can be created there; asked before any work is done.

    Raises: UsageError for a directory, OutputError when its directory is missing, NoPermissionError when closed.
    """
    if path.is_dir():
        raise UsageError(f"the {what} is a directory", where=str(path), fix="Give the name of a file.")
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"the directory for the {what} does not exist", where=str(parent), fix="Create it first.")
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise NoPermissionError(
            f"the directory for the {what} cannot be written to", where=str(parent), fix="Choose another with -o."
        )
    return path


def check_source(path: Path, *, what: str = "file", directory: bool = False) -> Path:
    """`path`, when it is there and of the right kind.

    Raises: MissingInputError.
    """
    if directory and not path.is_dir():
        raise MissingInputError(f"there is no such {what}", where=str(path), fix="Check the path.")
    if not directory and not path.exists():
        raise MissingInputError(f"there is no such {what}", where=str(path), fix="Check the path.")
    if not directory and path.is_dir():
        raise MissingInputError(f"a directory where a {what} is needed", where=str(path), fix="Give a file.")
    return path


class MissingInputError(StorageError):
    """An input that is not there."""

    exit_code: ClassVar[int] = 66
