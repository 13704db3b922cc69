"""Frozen dataclass to plain dict and back, checked, with the nearest right name for a wrong one."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from featherweight.core.catalog import did_you_mean
from featherweight.errors import ConfigError

T = TypeVar("T")


def to_dict(settings: object, *, defaults: bool = True) -> dict[str, Any]:
    """The fields of a settings dataclass as plain JSON values; without `defaults`, only what differs from them.

    Raises: ConfigError when `settings` is no dataclass instance.
    """
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise ConfigError("settings must be an instance of a dataclass", value=settings)
    plain = _plain(type(settings)).dump_python(settings, mode="json")
    if defaults:
        return dict(plain)
    kept = {}
    for field in dataclasses.fields(settings):
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = field.default
        if getattr(settings, field.name) != default:
            kept[field.name] = plain[field.name]
    return kept


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """An instance of the settings dataclass `cls` from plain values.

    Raises: ConfigError for an unknown field (with the nearest right one), a missing one or a wrong value.
    """
    if not dataclasses.is_dataclass(cls):
        raise ConfigError("settings must be a dataclass", value=cls)
    known = [field.name for field in dataclasses.fields(cls)]
    subject = where or cls.__name__
    for name in values:
        if name not in known:
            raise ConfigError("unknown field", where=subject, value=name, fix=did_you_mean(str(name), known))
    try:
        return _plain(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "value"
        raise ConfigError(str(first["msg"]), where=f"{subject}.{field}", value=first.get("input")) from error


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a settings dataclass, for editors and generated pages."""
    return _plain(cls).json_schema()


def _plain(cls: type[T]) -> TypeAdapter[T]:
    if "__pydantic_config__" not in cls.__dict__:
        # strings are never read as numbers, and a dataclass that checks itself in __post_init__ still does
        setattr(cls, "__pydantic_config__", ConfigDict(extra="forbid", strict=False))  # noqa: B010  # mypy knows no such attribute
    return TypeAdapter(cls)
