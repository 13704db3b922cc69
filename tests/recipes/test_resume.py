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


def killed(root: Path, seed: int, runs: int, each: int) -> int:
    """Runs under fire; gives the number of kills after checking that all ended as the straight one."""
    with started(root, "--kill", seed, runs, each) as process:
        output = process.stdout.read()
    assert process.returncode == 0, output
    digests = {digest(root / str(number)) for number in range(runs)}
    assert digests == {digest(root / "straight")}
    return int(output.splitlines()[-1].removeprefix("kills "))


def test_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    assert killed(tmp_path, seed=1, runs=2, each=3) == 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_many_killed_runs_end_with_the_same_bytes(tmp_path: Path, seed: int) -> None:
    assert killed(tmp_path, seed, runs=4, each=5) == 20


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
