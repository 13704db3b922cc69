"""A name on the command line becomes a task: the one door to all front ends."""

from collections.abc import Mapping
from typing import Any

from featherweight.core.catalog import load, names
from featherweight.core.task import Task
from featherweight.errors import TaskError
from featherweight.frontends.base import SOCKET, FrontEnd

SKIP = ("resolve", "safetensors_files")


def read_task(name: str, settings: Mapping[str, Any] | None = None, *, seed: int | None = None) -> Task:
    """The task called `name`: `file.py:callable`, or a `.safetensors` checkpoint (weights only, no data).

    `settings` are keyword arguments of the callable; `seed` is one more, where it takes it.

    Raises: TaskError when no front end knows such a name, or the one that does cannot read it.
    """
    kinds = [load(SOCKET, kind, FrontEnd, SKIP) for kind in names(SOCKET, SKIP)]  # type: ignore[type-abstract]  # only its subclasses are made
    for kind in kinds:
        if kind.accepts(name):
            return kind().read(name, settings or {}, seed=seed)
    raise TaskError(
        "is nothing that can be compressed",
        where="task",
        value=name,
        fix=f"Give {' or '.join(kind.looks for kind in kinds)}.",
    )
