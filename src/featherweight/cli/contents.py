"""Opens a compressed file for the verbs that look into one."""

from pathlib import Path
from typing import TYPE_CHECKING

from featherweight.cli.late import Late
from featherweight.cli.output import check_source

if TYPE_CHECKING:
    from featherweight.container import limits, pack, reader
    from featherweight.container import report as reports
else:
    limits = Late("featherweight.container.limits")
    pack = Late("featherweight.container.pack")
    reports = Late("featherweight.container.report")


def opened(file: Path) -> "reader.Reader":
    """The open file; closes at the end of a `with`.

    Raises: MissingInputError, StorageError when it cannot be read, FormatError when it is no sound `.fwt`.
    """
    return pack.open_file(check_source(file))


def for_pieces(file: Path) -> "reader.Reader":
    """The open file for a verb that takes its tensors one at a time and trusts none of them to be finite.

    Its tensors together may be larger than the memory, each alone may not.

    Raises: as `opened`.
    """
    return pack.open_file(file, limits=limits.Limits(decoded_bytes=limits.MAX_SIZE), nonfinite="allow")


def report_of(opened_file: "reader.Reader") -> "reports.FileReport":
    """What the file consists of, in bytes."""
    return reports.report(opened_file)
