"""`featherweight resume`: goes on with a run that was stopped."""

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import jobs
from featherweight.cli.options import AllowEnvChange, Debug, Json

RunDir = Annotated[Path, typer.Argument(metavar="RUNDIR", help="The run directory of `compress`.", show_default=False)]


def resume(run_dir: RunDir, allow_env_change: AllowEnvChange = False, json: Json = False, debug: Debug = False) -> None:
    """Goes on with an interrupted run, as if it had never stopped, and writes the file that was asked for.

    Example: featherweight resume runs/lenet5-deep_compression-001
    """
    jobs.resume(run_dir, json=json, allow_env_change=allow_env_change)
