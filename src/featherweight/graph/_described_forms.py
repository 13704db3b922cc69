"""How the settings of a described module must look: forms of values, settings, kinds (graph/_described_kinds.py)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

MAX_SIZE: Final = 2**31
MAX_ITEMS: Final = 2**20  # of a list: indices of channels
REQUIRED: Final = object()


@dataclass(frozen=True)
class Form:
    """How the value of a setting must look: `fits` says whether it does, `wants` says it in words."""

    wants: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """One argument of a constructor. `read` gives its plain value from a module (default: the attribute's)."""

    name: str
    form: Form
    default: Any = REQUIRED
    read: Callable[[Any], Any] | None = None

    def of(self, module: nn.Module) -> Any:
        """The plain value that the module has."""
        value = self.read(module) if self.read is not None else getattr(module, self.name)
        return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Kind:
    """A class of modules. `make` takes the settings as they stand in a description (default: the class itself)."""

    cls: type[nn.Module]
    settings: tuple[Setting, ...] = ()
    make: Callable[..., nn.Module] | None = None

    @property
    def name(self) -> str:
        """What stands under "kind" in a description."""
        return self.cls.__name__


def _integer(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= MAX_SIZE


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _listed(item: Callable[[Any], bool], most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and 0 < len(value) <= most and all(item(one) for one in value)


def either(*forms: Form) -> Form:
    """A value that fits one of the forms."""
    return Form(" or ".join(form.wants for form in forms), lambda value: any(form.fits(value) for form in forms))


def choice(*texts: str) -> Form:
    """One of these texts."""
    return Form("one of " + ", ".join(texts), lambda value: type(value) is str and value in texts)


SIZE = Form("an integer of 0 to 2^31", lambda value: _integer(value, 0))
WHOLE = Form("an integer within 2^31", lambda value: _integer(value, -MAX_SIZE))
DEPTH = Form("an integer of 1 to 4096", lambda value: _integer(value, 1) and value <= 4096)
NUMBER = Form("a finite number", _finite)
FLAG = Form("true or false", lambda value: type(value) is bool)
NONE = Form("null", lambda value: value is None)
SIZES = Form("a list of 1 to 8 sizes", _listed(SIZE.fits, 8))
WHOLES = Form("a list of 1 to 8 integers", _listed(WHOLE.fits, 8))
NUMBERS = Form("a list of 1 to 3 finite numbers", _listed(_finite, 3))
INDICES = Form("a list of up to 2^20 indices", _listed(SIZE.fits, MAX_ITEMS))
SHAPE = Form("a list of up to 8 sizes", lambda value: value == [] or SIZES.fits(value))
EXTENT = either(SIZE, SIZES)  # one size, or one for each dimension of space
GAPS = Form("a list of 1 to 3 sizes or null", _listed(lambda value: value is None or SIZE.fits(value), 3))
PADDING_MODE = choice("zeros", "reflect", "replicate", "circular")
