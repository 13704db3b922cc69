"""Techniques in order, as data: from YAML and back, checked before any work."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from featherweight.core import catalog, config
from featherweight.errors import ConfigError, StorageError, UnknownNameError
from featherweight.recipes.tiers import coders
from featherweight.techniques.base import SOCKET as TECHNIQUES
from featherweight.techniques.base import Technique

VERSION = 1
LIBRARY = Path(__file__).parent / "library"


@dataclass(frozen=True)
class Step:
    """One technique with its settings.

    `use` is the technique's name, `settings` its dataclass. `max_drop` is the validation score (same unit as the
    task's score) that the step may cost at most; None: any. A `required` step whose guard cannot be met ends the run
    instead of being left out.
    """

    use: str
    settings: Technique
    max_drop: float | None = None
    required: bool = False

    def __post_init__(self) -> None:
        kind = technique(self.use)
        if type(self.settings) is not kind:
            raise ConfigError(f"settings must be a {kind.__name__}", where=self.use, value=type(self.settings).__name__)
        _check_drop(self.max_drop, f"{self.use}.max_drop")

    @classmethod
    def of(cls, use: str, /, **settings: Any) -> "Step":
        """A step without guard: `Step.of("representation.sharing.kmeans", bits=5)`."""
        return cls(use, config.from_dict(technique(use), settings, where=use))

    @classmethod
    def from_dict(cls, values: Any, where: str = "step") -> "Step":
        """A step from its plain form; see `to_dict`. Raises: ConfigError, UnknownNameError."""
        _check_keys(values, ("use", "with", "max_drop", "required"), where)
        if not isinstance(values.get("use"), str):
            raise ConfigError("a step names its technique with 'use'", where=where, value=values.get("use"))
        use, settings = values["use"], values.get("with") or {}
        if not isinstance(settings, Mapping):
            raise ConfigError("must map fields to values", where=f"{where}.with", value=settings)
        required = values.get("required", False)
        if not isinstance(required, bool):
            raise ConfigError("must be true or false", where=f"{where}.required", value=required)
        made = config.from_dict(technique(use), settings, where=f"{where} ({use})")
        return cls(use, made, values.get("max_drop"), required)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, what equals its default left out."""
        plain: dict[str, Any] = {"use": self.use}
        settings = config.to_dict(self.settings, defaults=False)
        if settings:
            plain["with"] = settings
        if self.max_drop is not None:
            plain["max_drop"] = self.max_drop
        if self.required:
            plain["required"] = True
        return plain


@dataclass(frozen=True)
class Recipe:
    """Techniques in order, the score they may cost together, and the entropy coder of the file.

    `max_drop` is the validation score that may be lost at most over the whole recipe; None: any. `coder` is a tier
    ("small", "fast") or the name of one coder, see `recipes/tiers.py`.
    """

    name: str
    steps: tuple[Step, ...] = field(default_factory=tuple)
    max_drop: float | None = None
    coder: str = "huffman"
    version: int = VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.version != VERSION:
            raise ConfigError(
                f"this featherweight reads recipes of version {VERSION}", where="version", value=self.version
            )
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.+-]{1,64}", self.name):
            raise ConfigError(
                "a recipe's name is 1 to 64 letters, digits or any of '_.+-'", where="name", value=self.name
            )
        if not self.steps:
            raise ConfigError("a recipe needs at least one step", where=f"{self.name}.steps", value=[])
        _check_drop(self.max_drop, f"{self.name}.max_drop")
        coders(self.coder)

    @classmethod
    def read(cls, source: str | Path) -> "Recipe":
        """A recipe from a file, from the library by name, or from YAML text.

        Raises: UnknownNameError, ConfigError (with the line where YAML knows it) or StorageError.
        """
        if isinstance(source, str) and "\n" in source:
            return cls.from_dict(_parse(source, "recipe"))
        path = Path(source)
        if isinstance(source, str) and path.suffix not in (".yaml", ".yml") and path.name == source:
            if source not in library():
                raise UnknownNameError(
                    "there is no recipe of this name",
                    where="recipe",
                    value=source,
                    fix=catalog.did_you_mean(source, library()) + " A file is named with its ending .yaml.",
                )
            path = LIBRARY / f"{source}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError("the recipe cannot be read", where=str(path), value=str(error)) from error
        return cls.from_dict(_parse(text, str(path)))

    @classmethod
    def from_dict(cls, values: Any) -> "Recipe":
        """A recipe from its plain form; see `to_dict`. Raises: ConfigError, UnknownNameError."""
        _check_keys(values, ("version", "name", "max_drop", "steps", "coder"), "recipe")
        steps = values.get("steps")
        if not isinstance(steps, list):
            raise ConfigError("must be a list of steps", where="recipe.steps", value=steps)
        made = tuple(Step.from_dict(step, f"step {number}") for number, step in enumerate(steps, start=1))
        rest = {key: values[key] for key in ("max_drop", "coder", "version") if key in values}
        return cls(name=values.get("name", "recipe"), steps=made, **rest)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the order of the YAML form, what equals its default left out."""
        plain: dict[str, Any] = {"version": self.version, "name": self.name}
        if self.max_drop is not None:
            plain["max_drop"] = self.max_drop
        plain["steps"] = [step.to_dict() for step in self.steps]
        plain["coder"] = self.coder
        return plain

    def to_yaml(self) -> str:
        """The YAML form; `Recipe.read` gives an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def library() -> list[str]:
    """The names of the recipes that come with featherweight."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml"))


def technique(name: str) -> type[Technique]:
    """The class of the technique called `name`. Raises: UnknownNameError with the nearest names."""
    # mypy takes an abstract class for no type[T]; nothing is instantiated here
    return catalog.load(TECHNIQUES, name, Technique)  # type: ignore[type-abstract]


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-3 as the number it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"no valid YAML: {error.problem}", where=f"{where}, line {line}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"no valid YAML: {str(error).splitlines()[0]}", where=where) from error


def _check_keys(values: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError("must map keys to values", where=where, value=values, fix=f"Keys: {', '.join(known)}.")
    for key in values:
        if key not in known:
            raise ConfigError("unknown key", where=where, value=key, fix=catalog.did_you_mean(str(key), known))


def _check_drop(value: Any, where: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError("must be a number of at least 0, in the unit of the score", where=where, value=value)
