"""Packages outside that are broken must not break the house."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def broken_torchvision(tmp_path):
    """An environment in which importing torchvision fails as it does beside a CPU torch: with a RuntimeError."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def _run(environment, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_fake_is_what_python_finds(broken_torchvision):
    done = _run(broken_torchvision, "-c", "import torchvision")
    assert done.returncode != 0
    assert "RuntimeError" in done.stderr


def test_everything_public_imports_beside_a_broken_torchvision(broken_torchvision):
    program = "import featherweight as fw; print(*[name for name in fw.__all__ if getattr(fw, name)])"
    done = _run(broken_torchvision, "-c", program)
    assert done.returncode == 0, done.stderr
    assert {"compress", "load", "save", "profile", "Recipe", "Context"} <= set(done.stdout.split())


def test_the_command_line_works_beside_a_broken_torchvision(broken_torchvision):
    done = _run(broken_torchvision, "-c", "from featherweight.cli import main; main()", "techniques")
    assert done.returncode == 0, done.stderr
    assert "pruning.connection.magnitude" in done.stdout


def test_help_imports_no_torch(broken_torchvision):
    """`featherweight --help` must answer at once; torch alone takes seconds."""
    program = (
        "import sys\n"
        "from featherweight.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('loaded:', sorted({'torch', 'accelerate', 'plotly', 'pydantic'} & set(sys.modules)))"
    )
    done = _run(broken_torchvision, "-c", program, "--help")
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
