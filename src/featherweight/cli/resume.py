"""`featherweight resume`: goes on with a run that was stopped."""

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import jobs
from featherweight.cli.options import AllowEnvChange, Debug, Json, Threads

RunDir = Annotated[Path, typer.Argument(metavar="RUNDIR", help="The run directory of `compress`.", show_default=False)]


def resume(
    run_dir: RunDir,
    threads: Threads = 0,
    allow_env_change: AllowEnvChange = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Goes on with an interrupted run, as if it had never stopped, and writes the file that was asked for.

    Example: featherweight resume runs/lenet5-deep_compression-001
    """
    jobs.resume(jobs.Place(run_dir, allow_env_change, threads), json=json)
