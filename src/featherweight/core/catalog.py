"""Finds what is in the house by name: the name in YAML is the path of the file.

A *socket* is a package whose files each hold one public class derived from the socket's base class
(`featherweight.techniques` and its `base.Technique`, `featherweight.entropy` and its `base.Coder`, ...). Files that
begin with `_` and `base.py` are not catalogue entries. Packages outside the house join through an entry point of the
group named like the socket.
"""

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from featherweight.errors import UnknownNameError

T = TypeVar("T")


def names(socket: str, skip: Iterable[str] = ()) -> list[str]:
    """All names of a socket, sorted, without importing any of them.

    `skip` lists file stems beside `base` that are parts of the room and no entries of the catalogue.
    """
    root = _root(socket)
    hidden = {"__init__", "base", *skip}
    found = [
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if path.stem not in hidden and not any(part.startswith("_") for part in path.relative_to(root).parts)
    ]
    return sorted([*found, *(point.name for point in entry_points(group=socket))])


def load(socket: str, name: str, base: type[T], skip: Iterable[str] = ()) -> type[T]:
    """The one public class of the file called `name`.

    Raises: UnknownNameError, with the nearest names that exist.
    """
    known = names(socket, skip)
    if name not in known:
        raise UnknownNameError(
            f"there is no {base.__name__.lower()} of this name",
            value=name,
            fix=did_you_mean(name, known),
        )
    for point in entry_points(group=socket):
        if point.name == name:
            return _checked(point.load(), base, name)
    module = module_named(f"{socket}.{name}")
    classes = [
        item
        for key, item in vars(module).items()
        if inspect.isclass(item) and item.__module__ == module.__name__ and not key.startswith("_")
    ]
    matching = [item for item in classes if issubclass(item, base)]
    if len(matching) != 1:
        raise UnknownNameError(
            f"a file of {socket} holds exactly one public {base.__name__}",
            where=name,
            value=[item.__name__ for item in matching],
        )
    return matching[0]


def module_named(name: str) -> ModuleType:
    """Imports a module by its dotted name: the only dynamic import of the house goes through here."""
    return importlib.import_module(name)


def module_from_file(path: Path) -> ModuleType:
    """Runs a Python file of the user's as a module of its own, each time anew.

    Raises: whatever the file raises, and OSError or SyntaxError for a file that cannot be read or parsed.
    """
    name = f"_featherweight_file_{path.stem}"
    spec = spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UnknownNameError("is no Python file", value=str(path), fix="Name a file that ends in .py.")
    module = module_from_spec(spec)
    sys.modules[name] = module  # classes of the file look themselves up there (dataclasses do)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One sentence that names the nearest known names, or all of them when none is near."""
    options = list(known)
    by_stem = [option for option in options if option.split(".")[-1] == name.split(".")[-1]]
    near = by_stem or difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(repr(option) for option in near)}?"
    return f"Known: {', '.join(options) if options else 'none'}."


def _root(socket: str) -> Path:
    spec = find_spec(socket)
    if spec is None or spec.origin is None:
        raise UnknownNameError("there is no such socket", value=socket)
    return Path(spec.origin).parent


def _checked(item: object, base: type[T], name: str) -> type[T]:
    if inspect.isclass(item) and issubclass(item, base):
        return item
    raise UnknownNameError(f"the entry point is no {base.__name__}", where=name, value=item)
