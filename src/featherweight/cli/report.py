"""`featherweight report`: one page that tells what a run did."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featherweight.cli.late import Late
from featherweight.cli.options import Debug, Json
from featherweight.cli.output import check_source, check_target, document, line
from featherweight.cli.progress import waiting
from featherweight.report.text import bytes_text

if TYPE_CHECKING:
    from featherweight.core import atomic
    from featherweight.report import page, read
else:
    atomic = Late("featherweight.core.atomic")
    page = Late("featherweight.report.page")
    read = Late("featherweight.report.read")

RunDir = Annotated[Path, typer.Argument(metavar="RUNDIR", help="The run directory of `compress`.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page to write.")]


def report(run_dir: RunDir, output: Output = Path("report.html"), json: Json = False, debug: Debug = False) -> None:
    """Writes one self-contained HTML page about a run: steps, scores, bytes, weights, decisions of the guard.

    Example: featherweight report runs/lenet5-deep_compression-001 -o report.html
    """
    check_source(run_dir, what="run directory", directory=True)
    check_target(output)
    with waiting("drawing", quiet=json):
        html = page.render(read.from_run(run_dir))
        atomic.write_atomically(output, html)
    if json:
        document({"run_dir": str(run_dir), "output": str(output), "bytes": len(html.encode())})
    else:
        line(f"{output}: {bytes_text(len(html.encode()))}")
