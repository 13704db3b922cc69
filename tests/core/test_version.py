from importlib.metadata import version

from featherweight.core.version import VERSION


def test_the_installed_version_is_this_one() -> None:
    assert version("featherweight") == VERSION
