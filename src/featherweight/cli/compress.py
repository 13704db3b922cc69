"""`featherweight compress`: a network, data and a recipe go in, one small file comes out."""

from pathlib import Path
from typing import Annotated

import typer

from featherweight.cli import jobs
from featherweight.cli.options import (
    AllowEnvChange,
    Debug,
    Device,
    Json,
    Seed,
    Threads,
    coder_names,
    recipe_names,
    task_names,
)

Task = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="file.py:callable that gives a Task; or a checkpoint: .safetensors, index of shards, or their directory.",
        autocompletion=task_names,
        show_default=False,
    ),
]
Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        metavar="NAME|FILE",
        help="A recipe of the library or a YAML file.",
        autocompletion=recipe_names,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.fwt", help="The file to write.")]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Where to keep what is needed to resume and to report (default: a new one under runs/).",
        show_default=False,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop", min=0.0, help="Score that the whole recipe may cost, e.g. 0.005; replaces the recipe's."
    ),
]
Coder = Annotated[
    str | None,
    typer.Option(
        "--coder",
        metavar="TIER|NAME",
        help="Coders of the file: small, fast (to write and to read), or the name of one; replaces the recipe's.",
        autocompletion=coder_names,
        show_default=False,
    ),
]
Extras = Annotated[
    bool,
    typer.Option("--extras/--no-extras", help="Keep recipe, ledger and provenance in the file, or leave them out."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, and stop.")]


def compress(
    task: Task,
    recipe: Recipe,
    output: Output,
    run_dir: RunDir = None,
    seed: Seed = 0,
    device: Device = "cpu",
    max_drop: MaxDrop = None,
    coder: Coder = None,
    extras: Extras = True,
    threads: Threads = 0,
    dry_run: DryRun = False,
    allow_env_change: AllowEnvChange = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compresses a trained network by a recipe and writes one file that runs.

    A checkpoint may be larger than memory if the recipe works tensor by tensor, as weights_only does.

    Example: featherweight compress examples/lenet5.py:task --recipe deep_compression -o lenet5.fwt
    """
    job = jobs.Job(
        task=task,
        recipe=recipe,
        output=output,
        seed=seed,
        device=device,
        max_drop=max_drop,
        coder=coder,
        extras=extras,
    )
    if dry_run:
        jobs.plan(job, json=json)
    else:
        jobs.start(job, jobs.Place(run_dir, allow_env_change, threads), json=json)
