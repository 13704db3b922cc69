"""Where files are looked for, in which order, and what is said when they are nowhere."""

import os

import pytest

from featherweight.data import places
from featherweight.data.places import Form, Lookup, cache_folder, roots
from featherweight.errors import MissingDataError

ONE = Form(files=("set.npz",), words="set.npz (arrays x_train)", folders=("", "set"))
FOUR = Form(files=("a.gz", "b.gz"), words="the files a.gz and b.gz", folders=("set",))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_the_variable_comes_first_then_the_cache_then_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv(places.VARIABLE, f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    found = [str(root) for root in roots()]
    assert found[:3] == [str(tmp_path / "one"), str(tmp_path / "two"), str(cache_folder() / "data")]
    assert "/usr/share/datasets" in found


def test_the_first_root_wins(tmp_path):
    touch(tmp_path / "two" / "set.npz")
    lookup = Lookup((tmp_path / "one", tmp_path / "two"), download=False)
    assert lookup.find("set", [ONE], "home")[1] == (tmp_path / "two" / "set.npz",)
    first = touch(tmp_path / "one" / "set" / "set.npz")
    assert lookup.find("set", [ONE], "home")[1] == (first,)


def test_all_files_of_a_form_must_be_there(tmp_path):
    touch(tmp_path / "set" / "a.gz")
    lookup = Lookup((tmp_path,), download=False)
    with pytest.raises(MissingDataError):
        lookup.find("set", [FOUR], "home")
    touch(tmp_path / "set" / "b")  # unpacked
    form, paths = lookup.find("set", [ONE, FOUR], "home")
    assert form is FOUR
    assert [path.name for path in paths] == ["a.gz", "b"]


def test_files_named_alike_are_not_taken_from_the_root(tmp_path):
    """MNIST and Fashion-MNIST have files of the same names: only their own folders count."""
    touch(tmp_path / "a.gz"), touch(tmp_path / "b.gz")
    with pytest.raises(MissingDataError):
        Lookup((tmp_path,), download=False).find("set", [FOUR], "home")


def test_the_error_says_what_to_put_where(tmp_path):
    with pytest.raises(MissingDataError) as caught:
        Lookup((tmp_path,), download=False).find("set", [ONE, FOUR], "https://example.org")
    text = str(caught.value)
    for word in ("set.npz", "a.gz and b.gz", str(cache_folder() / "data" / "set"), places.VARIABLE, str(tmp_path)):
        assert word in text
    assert "https://example.org" in text


def test_a_download_is_last_and_its_trouble_is_told(tmp_path, monkeypatch):
    asked = []

    def refuse(files, mirrors, hashes, folder):
        asked.append((files, mirrors, hashes, folder))
        return "ConnectionError: no route"

    monkeypatch.setattr(places, "fetch", refuse)
    form = Form(files=("a",), words="a", mirrors=("https://example.org/",), hashes=("sha256:00",))
    with pytest.raises(MissingDataError, match="no route"):
        Lookup((tmp_path,)).find("set", [form], "home")
    assert asked == [(("a",), ("https://example.org/",), ("sha256:00",), cache_folder() / "data" / "set")]
    touch(tmp_path / "a")
    Lookup((tmp_path,)).find("set", [form], "home")
    assert len(asked) == 1


def test_what_was_downloaded_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "fetch", lambda *_: (tmp_path / "a",))
    form = Form(files=("a",), words="a", mirrors=("https://example.org/",), hashes=("sha256:00",))
    assert Lookup((tmp_path,)).find("set", [form], "home") == (form, (tmp_path / "a",))
