"""Modules that are imported when they are first used, so that help and completion answer without loading torch."""

from types import ModuleType
from typing import Any

from featherweight.core import catalog


class Late(ModuleType):
    """Stands for the module of the same name; importing it waits for the first attribute that is asked for.

    A verb says `from featherweight.x import y` under TYPE_CHECKING and `y = Late("featherweight.x.y")` otherwise:
    the type checker sees the real thing.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(catalog.module_named(self.__name__), name)
