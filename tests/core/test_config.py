"""Settings to plain values and back, checked."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core import config
from featherweight.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3


@dataclass(frozen=True, kw_only=True)
class Settings:
    density: float
    bits: int = 5
    start: Literal["linear", "density", "random"] = "linear"
    layers: tuple[str, ...] = ()
    per_layer: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.density <= 1:
            raise ConfigError("must lie in 0..1", where="density", value=self.density, fix="Give a share.")


def test_all_fields_as_plain_json_values():
    plain = config.to_dict(Settings(density=0.5, layers=("a", "b")))
    assert plain == {
        "density": 0.5,
        "bits": 5,
        "start": "linear",
        "layers": ["a", "b"],
        "per_layer": {},
        "inner": {"size": 3},
        "limit": None,
    }
    assert json.loads(json.dumps(plain)) == plain


def test_without_defaults_only_what_was_chosen():
    chosen = Settings(density=0.5, bits=4, per_layer={"fc": 0.1}, inner=Inner(size=3))
    assert config.to_dict(chosen, defaults=False) == {"density": 0.5, "bits": 4, "per_layer": {"fc": 0.1}}


@given(
    density=st.floats(0, 1),
    bits=st.integers(-(2**40), 2**40),
    layers=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    per_layer=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    limit=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_there_and_back_is_equal(density, bits, layers, per_layer, limit):
    settings = Settings(density=density, bits=bits, layers=layers, per_layer=per_layer, limit=limit)
    for defaults in (True, False):
        text = json.dumps(config.to_dict(settings, defaults=defaults))
        assert config.from_dict(Settings, json.loads(text)) == settings


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        config.from_dict(Settings, {"density": 0.5, "bit": 4}, where="sharing.kmeans")
    assert (caught.value.where, caught.value.value) == ("sharing.kmeans", "bit")
    assert caught.value.fix == "Did you mean 'bits' or 'limit'?"


@pytest.mark.parametrize(
    ("values", "where", "value"),
    [
        ({"density": "much"}, "Settings.density", "much"),
        ({"density": 0.5, "bits": 4.5}, "Settings.bits", 4.5),
        ({"density": 0.5, "bits": None}, "Settings.bits", None),
        ({"density": 0.5, "start": "middle"}, "Settings.start", "middle"),
        ({"density": 0.5, "inner": {"size": "x"}}, "Settings.inner.size", "x"),
        ({"density": 0.5, "per_layer": {"fc": "x"}}, "Settings.per_layer.fc", "x"),
    ],
)
def test_a_wrong_value_names_field_and_value(values, where, value):
    with pytest.raises(ConfigError) as caught:
        config.from_dict(Settings, values)
    assert (caught.value.where, caught.value.value) == (where, value)


def test_a_missing_field_is_named():
    with pytest.raises(ConfigError, match=r"Settings\.density"):
        config.from_dict(Settings, {"bits": 4})


def test_a_dataclass_that_checks_itself_still_does():
    with pytest.raises(ConfigError, match=r"must lie in 0\.\.1") as caught:
        config.from_dict(Settings, {"density": 1.5})
    assert caught.value.value == 1.5


@pytest.mark.parametrize("thing", [Settings, {"density": 1}, 3, None])
def test_only_an_instance_of_a_dataclass_has_settings(thing):
    with pytest.raises(ConfigError, match="instance of a dataclass"):
        config.to_dict(thing)


def test_only_a_dataclass_can_be_made_from_values():
    with pytest.raises(ConfigError, match="must be a dataclass"):
        config.from_dict(dict, {})


def test_the_schema_names_every_field_and_what_is_required():
    schema = config.json_schema(Settings)
    assert set(schema["properties"]) == set(config.to_dict(Settings(density=0.5)))
    assert schema["required"] == ["density"]
    assert schema["properties"]["start"]["enum"] == ["linear", "density", "random"]


def test_values_of_a_derived_class_are_checked_by_its_own_rules():
    @dataclass(frozen=True, kw_only=True)
    class More(Settings):
        extra: int = 0

    config.from_dict(Settings, {"density": 0.5})
    assert config.from_dict(More, {"density": 0.5, "extra": 2}).extra == 2
    with pytest.raises(ConfigError):
        config.from_dict(Settings, {"density": 0.5, "extra": 2})
