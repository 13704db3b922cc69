import subprocess
import sys

import pytest

import featherweight as fw


def test_the_shop_window_is_small_and_full() -> None:
    assert len(fw.__all__) <= 10
    assert dir(fw) == sorted(fw.__all__)
    for name in fw.__all__:
        assert getattr(fw, name) is not None
    assert fw.Context.__name__ == "TaskContext"


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="squash"):
        fw.squash  # noqa: B018  # the look-up is what is tested


def test_looking_at_it_imports_nothing_heavy() -> None:
    script = "import featherweight, sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
