"""Options that several verbs share, and what the shell completes them with."""

from pathlib import Path
from typing import Annotated

import typer

from featherweight.core import catalog

TECHNIQUES = "featherweight.techniques"
CODERS = "featherweight.entropy"
LIBRARY = Path(__file__).parents[1] / "recipes" / "library"


def technique_names(incomplete: str = "") -> list[str]:
    """Names of techniques that begin with `incomplete`, or have a part that does; imports none of them."""
    names = catalog.names(TECHNIQUES)
    begun = [name for name in names if name.startswith(incomplete)]
    return begun or [name for name in names if any(part.startswith(incomplete) for part in name.split("."))]


def recipe_names(incomplete: str = "") -> list[str]:
    """Names of the recipes of the library that begin with `incomplete`, then recipe files in the directory."""
    library = sorted(path.stem for path in LIBRARY.glob("*.yaml") if path.stem.startswith(incomplete))
    return [*library, *_files(incomplete, (".yaml", ".yml"))]


def coder_names(incomplete: str = "") -> list[str]:
    """Tiers and coders that begin with `incomplete`; imports none of them."""
    names = ["small", "fast", *catalog.names(CODERS, frozenset({"tables"}))]  # as recipes/tiers.py, which loads torch
    return [name for name in names if name.startswith(incomplete)]


def task_names(incomplete: str = "") -> list[str]:
    """Python files and checkpoints whose path begins with `incomplete`."""
    return [f"{path}:task" if path.endswith(".py") else path for path in _files(incomplete, (".py", ".safetensors"))]


def file_names(incomplete: str = "") -> list[str]:
    """Compressed files whose path begins with `incomplete`."""
    return _files(incomplete, (".fwt",))


def _files(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    folder = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    shown = [f"{entry}/" if entry.is_dir() else str(entry) for entry in entries if not entry.name.startswith(".")]
    return [name for name in shown if name.startswith(incomplete) and name.endswith(("/", *suffixes))]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of every random choice.")]
Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, max=1024, help="Tensors worked on at a time; 0: one for each core.")
]
AllowEnvChange = Annotated[
    bool,
    typer.Option(
        "--allow-env-change",
        help="Go on although torch, threads or machine changed; the result is then not the same bit for bit.",
    ),
]
File = Annotated[
    Path, typer.Argument(metavar="FILE.fwt", help="A compressed file.", autocompletion=file_names, show_default=False)
]
