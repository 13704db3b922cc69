"""Optional packages: on first use, with the pip line when they are not there or broken."""

import math

import pytest

from featherweight.core.optional import need
from featherweight.errors import MissingExtraError


def test_what_is_installed_is_given():
    assert need("math", extra="images", purpose="counting") is math


def test_what_is_missing_is_answered_with_the_pip_line():
    with pytest.raises(MissingExtraError) as caught:
        need("no_such_package_here.part", extra="images", purpose="reading an image folder")
    assert str(caught.value) == (
        "reading an image folder needs the package 'no_such_package_here', which did not import "
        "(got \"No module named 'no_such_package_here'\"). Install it with: pip install 'featherweight[images]'"
    )
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("kind", ["RuntimeError", "OSError", "ImportError"])
def test_a_broken_installation_is_answered_the_same_way(tmp_path, monkeypatch, kind):
    """torchvision beside a CPU torch fails with RuntimeError, a missing shared library with OSError."""
    name = f"broken_{kind.lower()}"
    (tmp_path / f"{name}.py").write_text(f"raise {kind}('operator does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match="operator does not exist"):
        need(name, extra="images", purpose="drawing")


def test_a_mistake_in_the_package_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "mistaken_package.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        need("mistaken_package", extra="images", purpose="drawing")
