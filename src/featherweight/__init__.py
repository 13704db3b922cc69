"""Makes trained neural networks small and fast: a network, some data and a budget go in; one small file comes out.

The shop window. Names are imported on first use, so that `import featherweight` alone stays quick.
"""

from typing import TYPE_CHECKING, Any

from featherweight.core.catalog import module_named
from featherweight.core.version import VERSION

if TYPE_CHECKING:
    from featherweight.container.pack import load
    from featherweight.container.rebuild import rebuild
    from featherweight.core.task import Task, Training
    from featherweight.errors import FeatherweightError
    from featherweight.profiling.profile import profile
    from featherweight.recipes.recipe import Recipe
    from featherweight.recipes.result import save
    from featherweight.recipes.run import compress
    from featherweight.training.context import TaskContext as Context

__all__ = [
    "Context",
    "FeatherweightError",
    "Recipe",
    "Task",
    "Training",
    "compress",
    "load",
    "profile",
    "rebuild",
    "save",
]

__version__ = VERSION

_PLACES = {
    "Context": ("featherweight.training.context", "TaskContext"),
    "FeatherweightError": ("featherweight.errors", "FeatherweightError"),
    "Recipe": ("featherweight.recipes.recipe", "Recipe"),
    "Task": ("featherweight.core.task", "Task"),
    "Training": ("featherweight.core.task", "Training"),
    "compress": ("featherweight.recipes.run", "compress"),
    "load": ("featherweight.container.pack", "load"),
    "profile": ("featherweight.profiling.profile", "profile"),
    "rebuild": ("featherweight.container.rebuild", "rebuild"),
    "save": ("featherweight.recipes.result", "save"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(module_named(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
