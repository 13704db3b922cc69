"""Where data files are looked for, and what is said when they are nowhere."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from featherweight.data.download import fetch
from featherweight.errors import MissingDataError

VARIABLE = "FEATHERWEIGHT_DATA"
"""Environment variable: one folder, or several separated as in PATH, that are searched first."""


def cache_folder() -> Path:
    """The user's cache folder of featherweight (not created here)."""
    return user_cache_path("featherweight", appauthor=False)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One of the forms in which a set lies on a disk.

    All of `files` must lie in one of `folders` under a root ("" is the root itself; sets whose files are named alike
    leave it out). A name that ends in .gz may also lie there unpacked. `words` says in an error what the files are.
    `hashes` ("sha256:..." for each file) and `mirrors` (addresses of folders) allow a download.
    """

    files: tuple[str, ...]
    words: str
    folders: tuple[str, ...] = ("",)
    mirrors: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lookup:
    """Finds the files of a set: `roots` in order, then a download where `download` allows it."""

    roots: tuple[Path, ...] = field(default_factory=lambda: roots())
    download: bool = True

    def find(self, name: str, forms: Sequence[Form], home: str) -> tuple[Form, tuple[Path, ...]]:
        """The first form whose files are all there, and their paths.

        Raises: MissingDataError naming every way to provide the set.
        """
        for root in self.roots:
            for form in forms:
                paths = _complete(root, form)
                if paths is not None:
                    return form, paths
        trouble = ""
        for form in forms if self.download else ():
            if form.mirrors:
                paths_or_why = fetch(form.files, form.mirrors, form.hashes, cache_folder() / "data" / name)
                if not isinstance(paths_or_why, str):
                    return form, paths_or_why
                trouble = paths_or_why
        raise MissingDataError(
            f"the data set is not on this machine{' and the download failed' if trouble else ''}",
            where=name,
            value=trouble or None,
            fix=self._advice(name, forms, home),
        )

    def _advice(self, name: str, forms: Sequence[Form], home: str) -> str:
        options = ", or ".join(form.words for form in forms)
        looked = ", ".join(str(root) for root in self.roots)
        return (
            f"Put {options} into {cache_folder() / 'data' / name}, or into a folder {name!r} of the folder that "
            f"{VARIABLE} names (the set's public home: {home} ). Looked in: {looked}."
        )


def roots() -> tuple[Path, ...]:
    """Folders that are searched: $FEATHERWEIGHT_DATA, the user cache, the known places of the system."""
    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return (*named, cache_folder() / "data", Path("/usr/share/datasets"), Path("/usr/local/share/datasets"))


def _complete(root: Path, form: Form) -> tuple[Path, ...] | None:
    for folder in form.folders:
        paths = [_present(root / folder, file) for file in form.files]
        found = tuple(path for path in paths if path is not None)
        if len(found) == len(form.files):
            return found
    return None


def _present(folder: Path, file: str) -> Path | None:
    for name in (file, file.removesuffix(".gz")):
        path = folder / name
        try:
            if path.is_file():
                return path
        except OSError:  # an unreadable folder holds nothing for us
            return None
    return None
