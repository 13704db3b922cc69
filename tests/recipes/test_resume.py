"""Runs that are stopped and killed end with the same bytes as one that was not: real processes, real signals."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SITTING = Path(__file__).parent / "sitting.py"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def digest(directory: Path) -> str:
    return hashlib.sha256((directory / "result.fwt").read_bytes()).hexdigest()


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SITTING), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)


def check_killed(root: Path, seed: int, wanted: int, each: int) -> None:
    """Runs under fire, `wanted` kills in all and at most `each` in one run, all end as the straight one."""
    with started(root, "--kill", seed, wanted, each) as process:
        output = process.stdout.read()
    assert process.returncode == 0, output
    _, kills, _, runs = output.splitlines()[-1].split()
    assert int(kills) == wanted
    assert {digest(root / str(number)) for number in range(int(runs))} == {digest(root / "straight")}


def test_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    check_killed(tmp_path, seed=1, wanted=6, each=3)


@pytest.mark.slow
def test_many_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    check_killed(tmp_path, seed=2, wanted=20, each=5)


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "InterruptedRunError", 130), (signal.SIGTERM, "TerminatedRunError", 143)],
)
def test_a_signal_stops_cleanly_and_the_run_goes_on(tmp_path: Path, number, word: str, code: int) -> None:
    with started(tmp_path) as process:
        for line in process.stdout:
            if line.startswith("bar digits"):  # in the middle of the first training
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == code
    assert word in rest
    assert "stopped after" in rest
    assert (tmp_path / "lock").read_text() == ""
    assert list((tmp_path / "train/00").glob("*.safetensors"))
    with started(tmp_path) as process:
        process.stdout.read()
    assert process.returncode == 0
    with started(tmp_path / "straight") as process:
        process.stdout.read()
    assert digest(tmp_path) == digest(tmp_path / "straight")
