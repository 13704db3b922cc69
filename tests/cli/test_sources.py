from dataclasses import dataclass, field, make_dataclass

import pytest

from featherweight.cli import sources
from featherweight.cli.options import TECHNIQUES


@dataclass(frozen=True)
class Base:
    """A base."""

    seed: int = 0  # of every choice


@dataclass(frozen=True)
class Example(Base):
    """Does something to weights. More about it."""

    ratio: float = 0.5  # share to remove, 0..1
    # how the rest is kept,
    # in words
    mode: str = "soft"
    sizes: tuple[int, ...] = field(default_factory=tuple)  # of each block
    name: str | None = None
    wide: dict[str, int] = field(  # by layer
        default_factory=dict
    )


def test_settings_carry_the_comments_of_their_source():
    found = {setting.name: setting for setting in sources.settings_of(Example)}
    assert list(found) == ["seed", "ratio", "mode", "sizes", "name", "wide"]
    assert found["ratio"] == sources.Setting("ratio", "float", "0.5", "share to remove, 0..1")
    assert found["mode"].meaning == "how the rest is kept, in words"
    assert found["seed"].meaning == "of every choice"
    assert (found["sizes"].type, found["sizes"].default) == ("tuple[int, ...]", "()")
    assert (found["name"].type, found["name"].default, found["name"].meaning) == ("str | None", "None", "")
    assert found["wide"].meaning == "by layer"
    assert found["ratio"].as_dict()["default"] == "0.5"


def test_a_setting_without_default_is_required():
    made = make_dataclass("Made", [("bits", int)])
    assert sources.settings_of(made) == [sources.Setting("bits", "int", sources.REQUIRED, "")]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Keeps 0.5 of all\nweights. Then more.", "Keeps 0.5 of all weights."),
        ("No full stop", "No full stop"),
        ("First.\n\nSecond.", "First."),
        ("Removes. Survey [27].", "Removes."),
        ("", ""),
    ],
)
def test_the_first_sentence(text, first):
    assert sources.sentence(text) == first


def test_a_technique_says_what_it_does_without_being_imported():
    assert "smallest weights" in sources.first_sentence(TECHNIQUES, "pruning.connection.magnitude")
    assert sources.first_sentence(TECHNIQUES, "from.another.package") == ""
