"""A Python callable in a file: `examples/lenet5.py:task` is the function `task` of that file, which returns a Task."""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from torch import nn

from featherweight.core.catalog import did_you_mean, module_from_file
from featherweight.core.task import Task
from featherweight.errors import FeatherweightError, TaskError
from featherweight.frontends.base import FrontEnd

T = TypeVar("T")
DEFAULT_NAME = "task"


class PythonCallable(FrontEnd):
    """Runs the user's own file: the name after the colon (default: task) is a Task or a callable that gives one."""

    looks: ClassVar[str] = "file.py:callable"

    @classmethod
    def accepts(cls, name: str) -> bool:
        """Names of Python files, with or without `:callable`."""
        return name.endswith(".py") or ".py:" in name

    def read(self, name: str, settings: Mapping[str, Any], *, seed: int | None = None) -> Task:
        """The task of `path/file.py:callable`; see FrontEnd.read."""
        file, attribute = _split(name)
        if not file.is_file():
            raise TaskError("there is no such file", where="task", value=str(file), fix=_nearby(file))
        with _importable(file.parent.resolve()):
            module = _guarded(lambda: module_from_file(file), f"{file} failed while it was imported", file)
            item = _attribute(module, attribute, file)
            if not isinstance(item, Task) and callable(item):
                chosen = _arguments(item, dict(settings), seed, f"{file}:{attribute}")
                item = _guarded(lambda: item(**chosen), f"{attribute}() failed", file)
        return _checked(item, f"{file}:{attribute}")


def _split(name: str) -> tuple[Path, str]:
    if name.endswith(".py"):
        return Path(name), DEFAULT_NAME
    file, _, attribute = name.rpartition(":")
    return Path(file), attribute or DEFAULT_NAME


def _nearby(file: Path) -> str:
    if not file.parent.is_dir():
        return f"There is no folder {str(file.parent)!r} either: check the path from where you are."
    return did_you_mean(file.name, sorted(item.name for item in file.parent.glob("*.py")))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets the file import its neighbours, as it could when run as a script."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _guarded(action: Callable[[], T], what: str, file: Path) -> T:
    """Runs the user's code: our own errors pass, anything else becomes one line that names the line of the file."""
    try:
        return action()
    except (FeatherweightError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a file that exits is an error too
        line = _line_in(error, file)
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise TaskError(
            f"{what}: {reason}",
            where=f"{file}:{line}" if line else str(file),
            fix="Run with --debug to see the whole traceback.",
        ) from error


def _line_in(error: BaseException, file: Path) -> int | None:
    """The last line of the user's file on the way to the error."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file.resolve():
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file.resolve()]
    return lines[-1] if lines else None


def _attribute(module: ModuleType, name: str, file: Path) -> Any:
    item = vars(module).get(name)
    if item is None:
        own = [
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and (isinstance(value, Task) or (inspect.isfunction(value) and value.__module__ == module.__name__))
        ]
        raise TaskError("the file has nothing of this name", where=str(file), value=name, fix=did_you_mean(name, own))
    return item


def _arguments(function: Callable[..., Any], settings: dict[str, Any], seed: int | None, where: str) -> dict[str, Any]:
    """The keyword arguments to call with: all settings (checked against the signature), the seed where it is taken."""
    parameters = inspect.signature(function).parameters
    open_ended = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    known = [key for key, item in parameters.items() if item.kind in _BY_KEYWORD]
    for key in settings:
        if key not in known and not open_ended:
            raise TaskError("takes no such argument", where=where, value=key, fix=did_you_mean(key, known))
    if seed is not None and "seed" not in settings and ("seed" in known or open_ended):
        settings["seed"] = seed
    needed = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in settings]
    if needed:
        raise TaskError("needs arguments that were not given", where=where, value=needed, fix="Give them defaults.")
    return settings


_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _checked(item: Any, where: str) -> Task:
    if isinstance(item, Task):
        return item
    if isinstance(item, nn.Module):
        fix = "Return featherweight.Task(model=..., example=..., train=..., validation=...) around the model."
    else:
        fix = "Name a function that returns a featherweight.Task."
    raise TaskError("is no task", where=where, value=type(item).__name__, fix=fix)
