"""What a streamed checkpoint gives beside the file: its ledger, its provenance, a copy for the run directory."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.container.report import FileReport
from featherweight.core import config
from featherweight.core.atomic import replacing, storage_errors
from featherweight.core.version import VERSION
from featherweight.profiling.size import dense_bytes
from featherweight.recipes.ledger import Entry, Ledger
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.stream_journal import Finished

_PIECE = 1 << 24  # bytes copied at a time


@dataclass(frozen=True)
class Streamed:
    """A checkpoint that was compressed tensor by tensor: the file, and the story of it."""

    output: Path
    recipe: Recipe
    ledger: Ledger
    file: FileReport

    def summary(self) -> dict[str, Any]:
        """The totals of the compressed model, as `Profile.summary` names them; None for what is not measured."""
        return self.ledger[-1].after | {"file_bytes": self.file.total_bytes}


def ledger_of(recipe: Recipe, seed: int, model: nn.Module, finished: Mapping[int, Finished]) -> Ledger:
    """One entry a step; `model` is without values. What lies between the first and the last step is not measured."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    before = figures(parameters)
    last = before | {"encoded_bytes": sum(item.length for item in finished.values())}
    entries = []
    for number, step in enumerate(recipe.steps):
        entries.append(
            Entry(
                index=number,
                technique=step.use,
                settings=config.to_dict(step.settings),
                seed=seed,
                seconds=round(sum(item.seconds[number] for item in finished.values()), 3),
                before=before,
                after=last if number == len(recipe.steps) - 1 else before,
            )
        )
    return Ledger(tuple(entries))


def provenance_of(task: str, seed: int, source: str) -> dict[str, Any]:
    """With what a file was made; the same as for a model in memory."""
    return {
        "featherweight": VERSION,
        "torch": str(torch.__version__),
        "task": task,
        "seed": seed,
        "source_sha256": source,
    }


def put_at(source: Path, target: Path) -> None:
    """Makes `target` the same complete file as `source`: a second name of it where it can have one, else a copy.

    Files that `save` writes are replaced and never changed in place, so that a second name is as good as a copy.

    Raises: StorageError.
    """
    if target.exists() and target.samefile(source):
        return
    beside = target.parent / f".fw-{os.getpid()}-{secrets.token_hex(8)}.tmp"
    with contextlib.suppress(OSError):
        os.link(source, beside)
        beside.replace(target)
        return
    with replacing(target, size=source.stat().st_size) as file, storage_errors(source), source.open("rb") as old:
        _copy(old.fileno(), file.fileno())


def _copy(source: int, target: int) -> None:
    """All bytes, inside the kernel where it can: on some file systems both then share them on the disk."""
    while True:
        try:
            if os.copy_file_range(source, target, _PIECE) == 0:
                return
        except (OSError, AttributeError):  # another file system, or another kernel
            break
    while piece := os.read(source, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]


def figures(parameters: int) -> dict[str, Any]:
    """The totals of a network of which only the number of parameters is known, as `Profile.summary` names them."""
    return {
        "parameters": parameters,
        "nonzeros": None,
        "density": None,
        "macs": None,
        "dense_bytes": dense_bytes(parameters),
        "encoded_bytes": None,
        "file_bytes": None,
    }
