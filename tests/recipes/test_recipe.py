import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.recipes.conftest import Noise, Tune, one, recipe

from featherweight.errors import ConfigError, StorageError, UnknownNameError
from featherweight.recipes.recipe import LIBRARY, Recipe, Step, library, technique

TEXT = """
version: 1
name: deep
max_drop: 0.005
steps:
  - use: pruning.connection.magnitude
    with: {density: 0.08}
    max_drop: 0.003
  - use: representation.sharing.kmeans
    with: {bits: 5}
    required: true
coder: huffman
"""


def test_yaml_is_read_field_by_field() -> None:
    found = Recipe.read(TEXT)
    assert (found.name, found.max_drop, found.coder, found.version) == ("deep", 0.005, "huffman", 1)
    first, second = found.steps
    assert (first.use, first.settings.density, first.max_drop, first.required) == (
        "pruning.connection.magnitude",
        0.08,
        0.003,
        False,
    )
    assert (second.settings.bits, second.max_drop, second.required) == (5, None, True)


@pytest.mark.parametrize("name", library())
def test_the_library_reads_and_comes_back_equal(name: str) -> None:
    found = Recipe.read(name)
    assert found.name == name
    assert Recipe.read(found.to_yaml()) == found
    assert Recipe.read(LIBRARY / f"{name}.yaml") == found


def test_both_ways_to_write_a_step_are_equal() -> None:
    assert Step.of("fake.noise", amount=0.5) == Step("fake.noise", Noise(amount=0.5))


drops = st.none() | st.floats(0, 1e6, allow_nan=False)
steps = st.builds(
    one, st.just("fake.noise"), drops, st.booleans(), amount=st.floats(allow_nan=False, allow_infinity=False)
) | st.builds(one, st.just("fake.tune"), drops, st.booleans(), epochs=st.floats(0, 1e9), dropout=st.floats(0, 1))
names = st.text("abcXYZ019_-+.", min_size=1, max_size=64)


@given(names, st.lists(steps, min_size=1, max_size=4), drops, st.sampled_from(["raw", "huffman", "constant"]))
def test_round_trip(name: str, some: list[Step], max_drop: float | None, coder: str) -> None:
    made = Recipe(name, tuple(some), max_drop, coder)
    assert Recipe.read(made.to_yaml() + "\n") == made
    assert Recipe.from_dict(made.to_dict()) == made


def test_numbers_without_a_dot_are_numbers() -> None:
    # YAML 1.1 reads 1e-3 as a text
    assert Recipe.read("name: a\nsteps: [{use: fake.noise, with: {amount: 1e-3}, max_drop: 5e-1}]\n") == recipe_of(
        one("fake.noise", 0.5, amount=0.001)
    )


def recipe_of(*some: Step) -> Recipe:
    return Recipe("a", some)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("pruning.connection.magnitude", "pruning.connection.magnitud"),
            r"Did you mean 'pruning.connection.magnitude'",
        ),
        (("representation.sharing.kmeans", "kmeans"), r"Did you mean 'representation.sharing.kmeans'"),
        (("density", "densty"), r"step 1 .*'densty'.*Did you mean 'density'"),
        (("density: 0.08", "density: lots"), r"step 1 .*density.*'lots'"),
        (("max_drop: 0.003", "max_drp: 0.003"), r"step 1.*'max_drp'.*Did you mean 'max_drop'"),
        (("max_drop: 0.005", "max_drop: -1"), r"deep.max_drop.*-1"),
        (("max_drop: 0.003", "max_drop: .nan"), r"magnitude.max_drop.*nan"),
        (("max_drop: 0.003", "max_drop: true"), r"magnitude.max_drop.*True"),
        (("required: true", "required: 1"), r"step 2.required.*true or false.*1"),
        (("coder: huffman", "coder: hufman"), r"Did you mean 'huffman'"),
        (("coder: huffman", "code: huffman"), r"recipe.*'code'.*Did you mean 'coder'"),
        (("version: 1", "version: 2"), r"version.*2"),
        (("name: deep", "name: ../deep"), r"name.*\.\./deep"),
        (("use: pruning.connection.magnitude", "use: 7"), r"step 1.*'use'.*7"),
        (("{bits: 5}", "[bits, 5]"), r"step 2.with.*fields"),
        (("max_drop: 0.003", "use: fake.noise"), r"line 8.*'use' is given twice"),
        (("steps:", "steps: ["), r"no valid YAML"),
    ],
)
def test_every_mistake_is_named(change: tuple[str, str], message: str) -> None:
    assert change[0] in TEXT
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        Recipe.read(TEXT.replace(*change, 1))


@pytest.mark.parametrize("text", ["[]\n", "\n", "name: a\nsteps: []\n", "name: a\nsteps: 3\n", "name: a\nsteps: [3]\n"])
def test_things_that_are_no_recipe(text: str) -> None:
    with pytest.raises(ConfigError):
        Recipe.read(text)


def test_settings_of_another_technique_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fake\.noise.*must be a Noise.*Tune"):
        Step("fake.noise", Tune())


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'deep_compression'"):
        Recipe.read("deep_compresion")
    with pytest.raises(StorageError, match=r"no\.yaml"):
        Recipe.read(tmp_path / "no.yaml")
    with pytest.raises(StorageError, match=r"no\.yaml"):
        Recipe.read("no.yaml")


def test_files_are_read_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert Recipe.read(path) == Recipe.read(str(path)) == Recipe.read(TEXT)
    path.write_text("a: b: c", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 1"):
        Recipe.read(path)


def test_nothing_but_plain_values_is_made_from_yaml() -> None:
    with pytest.raises(ConfigError, match="YAML"):
        Recipe.read("name: !!python/object/apply:os.getcwd []\nsteps: []\n")


def test_defaults_are_left_out_of_the_text() -> None:
    assert yaml.safe_load(recipe(one("fake.noise")).to_yaml()) == {
        "version": 1,
        "name": "test",
        "steps": [{"use": "fake.noise"}],
        "coder": "huffman",
    }


def test_names_lead_to_classes() -> None:
    assert technique("fake.noise") is Noise


def test_a_guard_of_infinity_is_none() -> None:
    with pytest.raises(ConfigError, match="inf"):
        recipe(one("fake.noise"), max_drop=math.inf)
