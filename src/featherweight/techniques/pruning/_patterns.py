"""Patterns in settings that name modules: one that names none is an error, as what it was to hold would go."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from featherweight.errors import TechniqueError


def all_match(patterns: Iterable[str], names: Collection[str], setting: str) -> None:
    """Raises: TechniqueError for the first pattern of the setting that matches no name."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, sorted(names), n=3, cutoff=0.6)
            first = ", ".join([name for name in names if name][:12])
            raise TechniqueError(
                "the pattern matches nothing",
                where=setting,
                value=pattern,
                fix=f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are {first}, ...",
            )
