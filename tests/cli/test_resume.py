import json
import os
import shutil
import signal
import subprocess
import sys

import pytest


def test_a_finished_run_gives_the_same_file_again(call, finished, tmp_path):
    copy = shutil.copytree(finished.directory, tmp_path / "run")
    order = json.loads((copy / "order.json").read_text())
    order["output"] = str(tmp_path / "again.fwt")
    (copy / "order.json").write_text(json.dumps(order))
    answer = call("resume", copy, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "again.fwt").read_bytes() == finished.file.read_bytes()
    assert json.loads(answer.out)["ledger"] == finished.printed["ledger"]


def test_a_run_stopped_by_a_signal_is_taken_up_and_ends_the_same(call, task_file, recipe_file, finished, tmp_path):
    run, target = tmp_path / "run", tmp_path / "out.fwt"
    words = ["compress", f"{task_file}:task", "-r", recipe_file, "-o", target, "--run-dir", run]
    code = "from featherweight.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )
    assert any("step 1 of 2" in line for line in process.stderr)  # reads as far as that line, and no further
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 130
    assert said[-1] == f"featherweight: stopped, everything so far is kept. Go on with: featherweight resume {run}"
    assert not target.exists()
    assert call("resume", run).code == 0
    assert target.read_bytes() == finished.file.read_bytes()


@pytest.mark.parametrize("make", [None, "empty", "damaged"])
def test_what_is_no_run_is_one_line(call, tmp_path, make):
    run = tmp_path / "run"
    if make:
        run.mkdir()
    if make == "damaged":
        (run / "order.json").write_text("{")
    answer = call("resume", run)
    assert answer.code == (2 if make == "damaged" else 66)
    assert (answer.out, answer.err.count("\n")) == ("", 1)
