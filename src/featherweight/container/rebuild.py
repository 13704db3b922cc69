"""A pruned network in a fresh instance of the user's class: from a log, or from the file that holds one."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.container.pack import load
from featherweight.container.spec import MAGIC
from featherweight.core.atomic import storage_errors
from featherweight.errors import FormatError, UsageError
from featherweight.graph.log import MAX_BYTES, Log, replay


def rebuild(original_model: nn.Module, log_or_path: Log | Mapping[str, Any] | str | Path) -> nn.Module:
    """A copy of `original_model` with the structure that surgery gave it; trainable, and no code from any file is run.

    `original_model` is an instance of the user's class with the structure that it had before; its weights do not
    matter where the file brings its own. `log_or_path` is a log, the same as a dictionary, the path of a `.json` file
    of one, or the path of a `.fwt` file: then weights and attached encodings come from there too. Weights that a log
    alone leaves in place are those of `original_model`, new modules are freshly initialised.

    Raises: UsageError when the log belongs to another architecture, FormatError for a file or data that is no log,
    StorageError for a file that cannot be read.
    """
    if isinstance(log_or_path, Log | Mapping):
        return replay(original_model, log_or_path)
    if not isinstance(log_or_path, str | Path):
        raise UsageError(
            "a log, a dictionary or a path is wanted",
            where="rebuild",
            value=type(log_or_path).__name__,
            fix="Give what log_of(model) gives, or the path of a .json or .fwt file.",
        )
    path = Path(log_or_path)
    with storage_errors(path), path.open("rb") as file:
        begin = file.read(MAX_BYTES + 1)
    if begin.startswith(MAGIC):
        return load(path, into=copy.deepcopy(original_model))
    return replay(original_model, _read(begin, path))


def _read(text: bytes, path: Path) -> Log:
    try:
        return Log.from_json(text)
    except FormatError as error:
        what = error.what.removeprefix(f"{error.code}: ")
        raise FormatError(
            error.code, what, section=str(path), value=error.value, fix=error.fix or "Give a .json or .fwt file."
        ) from error
