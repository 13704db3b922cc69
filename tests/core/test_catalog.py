"""The catalogue: what is found, what is hidden, and what a wrong name is answered with."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from featherweight.core import catalog
from featherweight.errors import FeatherweightError, UnknownNameError


class Spoon:
    """The base class of the socket that these tests build."""


ENTRY = "from tests_socket_base import Spoon\nclass {name}(Spoon):\n    pass\n"


@pytest.fixture
def socket(tmp_path, monkeypatch):
    """A socket of two good entries, some parts that are no entries, and some files that break the rule."""
    files = {
        "__init__.py": "",
        "base.py": ENTRY.format(name="Base"),
        "tables.py": "",
        "_shared.py": ENTRY.format(name="Shared"),
        "soup.py": ENTRY.format(name="Soup") + "class _Private(Spoon): pass\nclass Other: pass\nLIMIT = 3\n",
        "deep/__init__.py": "",
        "deep/tea.py": "from cutlery.soup import Soup\n" + ENTRY.format(name="Tea"),
        "_hidden/none.py": ENTRY.format(name="Hidden"),
        "wrong/two.py": ENTRY.format(name="One") + ENTRY.format(name="Two"),
        "wrong/none.py": "class Nothing: pass\n",
        "wrong/broken.py": "raise RuntimeError('must not be imported')\n",
    }
    for name, text in files.items():
        path = tmp_path / "cutlery" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    base = ModuleType("tests_socket_base")
    base.Spoon = Spoon
    monkeypatch.setitem(sys.modules, "tests_socket_base", base)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "cutlery"
    for name in [name for name in sys.modules if name.split(".")[0] == "cutlery"]:
        del sys.modules[name]


def test_names_are_paths_sorted_and_nothing_is_imported(socket):
    assert catalog.names(socket, skip=("tables",)) == ["deep.tea", "soup", "wrong.broken", "wrong.none", "wrong.two"]
    assert not any(name.startswith("cutlery.") for name in sys.modules)


def test_without_skip_every_part_is_an_entry(socket):
    assert "tables" in catalog.names(socket)


def test_load_gives_the_one_public_class_and_not_what_the_file_imports(socket):
    assert catalog.load(socket, "soup", Spoon).__name__ == "Soup"
    assert catalog.load(socket, "deep.tea", Spoon).__name__ == "Tea"


@pytest.mark.parametrize(("name", "found"), [("wrong.two", ["One", "Two"]), ("wrong.none", [])])
def test_a_file_without_exactly_one_class_is_refused(socket, name, found):
    with pytest.raises(UnknownNameError, match="exactly one public Spoon") as caught:
        catalog.load(socket, name, Spoon)
    assert caught.value.value == found
    assert caught.value.where == name


@pytest.mark.parametrize(
    ("wrong", "fix"),
    [
        ("tea", "Did you mean 'deep.tea'?"),  # the right file in the wrong folder
        ("shallow.tea", "Did you mean 'deep.tea'?"),
        ("soap", "Did you mean 'soup'?"),
        ("zzzzzzzz", "Known: deep.tea, soup, wrong.broken, wrong.none, wrong.two."),
        ("_shared", "Known: "),
        ("base", "Known: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(socket, wrong, fix):
    with pytest.raises(UnknownNameError, match="no spoon of this name") as caught:
        catalog.load(socket, wrong, Spoon, skip=("tables",))
    assert caught.value.value == wrong
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize("name", ["no_such_package_here"])
def test_a_socket_that_does_not_exist(name):
    with pytest.raises(UnknownNameError, match="no such socket") as caught:
        catalog.names(name)
    assert caught.value.value == name


def _plugged(monkeypatch, value):
    point = EntryPoint(name="silver", value=value, group="cutlery")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point] if group == "cutlery" else [])


def test_a_package_outside_joins_by_an_entry_point(socket, monkeypatch):
    _plugged(monkeypatch, "cutlery.soup:Soup")
    assert "silver" in catalog.names(socket)
    assert catalog.load(socket, "silver", Spoon).__name__ == "Soup"


@pytest.mark.parametrize("value", ["cutlery.soup:LIMIT", "cutlery.soup:Other"])
def test_an_entry_point_that_is_something_else_is_refused(socket, monkeypatch, value):
    _plugged(monkeypatch, value)
    with pytest.raises(UnknownNameError, match="no Spoon") as caught:
        catalog.load(socket, "silver", Spoon)
    assert caught.value.where == "silver"


def test_did_you_mean_names_all_when_none_is_near():
    assert catalog.did_you_mean("x", ["alpha", "beta"]) == "Known: alpha, beta."
    assert catalog.did_you_mean("x", []) == "Known: none."
    assert catalog.did_you_mean("alpa", ["alpha", "alphas"]) == "Did you mean 'alpha' or 'alphas'?"


def test_every_file_of_the_house_that_is_a_technique_loads():
    """A broken file must not hide until somebody asks for it."""
    from featherweight.techniques.base import SOCKET, Technique

    found = catalog.names(SOCKET)
    assert found, "the catalogue of techniques is empty"
    for name in found:
        assert issubclass(catalog.load(SOCKET, name, Technique), Technique)


def test_a_file_of_the_user_is_run_anew_each_time(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: 'int' = 1\n")
    first = catalog.module_from_file(file)
    file.write_text("answer = 42\n")
    assert first.Point().x == 1
    assert catalog.module_from_file(file).answer == 42


@pytest.mark.parametrize(("text", "kind"), [("1 / 0\n", ZeroDivisionError), ("def f(:\n", SyntaxError)])
def test_a_file_of_the_user_that_fails_is_not_kept(tmp_path, text, kind):
    file = tmp_path / "failing.py"
    file.write_text(text)
    with pytest.raises(kind):
        catalog.module_from_file(file)
    assert not any("failing" in name for name in sys.modules)


def test_a_file_of_the_user_must_be_python(tmp_path):
    (tmp_path / "notes.txt").write_text("answer = 42\n")
    with pytest.raises(UnknownNameError, match="no Python file") as caught:
        catalog.module_from_file(tmp_path / "notes.txt")
    assert caught.value.value.endswith("notes.txt")
    with pytest.raises(FileNotFoundError):
        catalog.module_from_file(tmp_path / "missing.py")


def test_unknown_names_are_usage_errors():
    assert issubclass(UnknownNameError, FeatherweightError)
    assert UnknownNameError.exit_code == 2
