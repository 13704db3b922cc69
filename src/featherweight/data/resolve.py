"""A name or path becomes splits: the one door to all data sources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherweight.core.catalog import load, names
from featherweight.core.config import from_dict
from featherweight.data.base import SOCKET, Source, Splits, carve
from featherweight.data.places import Lookup
from featherweight.errors import MissingDataError


def find(
    name: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    fallback: bool = False,
    seed: int = 0,
    lookup: Lookup | None = None,
) -> Splits:
    """The splits of a set: a name ("mnist", "fashion_mnist", "cifar10", ...), an .npz file or a folder of images.

    Named sets are looked for in $FEATHERWEIGHT_DATA, the user cache and the known places of the system, and last
    downloaded with a checked digest. `settings` are the fields of the source. `fallback` takes the small substitute
    that some sets have (mnist: the 5,000 digits of "mnist_sample") rather than download; `Splits.describe()` says
    which was used. `seed` chooses which training examples become validation and calibration data.

    Raises: MissingDataError saying which file to put where; DataError for a file that is broken; UnknownNameError for
    a set that does not exist.
    """
    source, title = _source(name, settings or {})
    substitutes = fallback and source.substitute is not None
    lookup = lookup or Lookup(download=not substitutes)
    try:
        return carve(source.parts(lookup), name=title, seed=seed)
    except MissingDataError:
        if not fallback or source.substitute is None:
            raise
        substitute, title = _source(source.substitute, {})
        return carve(substitute.parts(lookup), name=title, seed=seed)


def known() -> list[str]:
    """The names that `find` knows; the kinds "npz" and "folder" take a path instead."""
    return names(SOCKET)


def _source(name: str | Path, settings: Mapping[str, Any]) -> tuple[Source, str]:
    path = Path(name)
    if path.suffix == ".npz":
        kind, settings, title = "npz", {"path": path, **settings}, path.stem
    elif str(name) not in known() and path.is_dir():
        kind, settings, title = "folder", {"path": path, **settings}, path.name
    else:
        kind = title = str(name)
    return from_dict(load(SOCKET, kind, Source), settings, where=kind), title  # type: ignore[type-abstract]  # only its subclasses are made
