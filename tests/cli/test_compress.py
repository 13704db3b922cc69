import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from featherweight.container import pack


def test_the_main_job_from_task_to_file(finished):
    done = finished.printed
    assert finished.file.stat().st_size == done["file_bytes"]
    assert done["dense_bytes"] == 4 * 2410
    assert done["ratio"] == pytest.approx(done["dense_bytes"] / done["file_bytes"])
    assert [entry["technique"] for entry in done["ledger"]] == [
        "pruning.connection.magnitude",
        "representation.sharing.kmeans",
    ]
    assert done["score_before"] > 0.9
    assert done["run_dir"] == str(finished.directory)
    assert pack.load(finished.file)(pack.open_file(finished.file).tensor("0.weight")).shape == (32, 10)


def test_people_get_a_table_and_the_next_command(call, task_file, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = call("compress", f"{task_file}:task", "--recipe", recipe_file, "-o", "small.fwt", "--no-extras")
    assert answer.code == 0
    assert "pruning.connection.magnitude" in answer.out
    assert "smaller than 9.64 KB of dense weights" in answer.out
    assert "more: featherweight report runs/digits-quick-001 -o report.html" in answer.out
    assert "step 2 of 2: representation.sharing.kmeans" in answer.err
    with pack.open_file("small.fwt") as reader:
        assert dict(reader.extras) == {}


def test_the_same_seed_gives_the_same_file(call, task_file, recipe_file, finished, tmp_path):
    answer = call(
        "compress", f"{task_file}:task", "-r", recipe_file, "-o", tmp_path / "again.fwt", "--run-dir", tmp_path / "run"
    )
    assert answer.code == 0
    assert (tmp_path / "again.fwt").read_bytes() == finished.file.read_bytes()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(call, task_file, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["compress", f"{task_file}:task", "-r", recipe_file, "-o", "out.fwt", "--dry-run", "--max-drop", "0.02"]
    answer = call(*words)
    assert (answer.code, answer.err) == (0, "")
    for said in ("2,410 parameters", "1,200 train, 300 validation", "at most 0.02", "density 0.4", "2,368 weights"):
        assert said in answer.out
    plan = json.loads(call(*words, "--json").out)
    assert plan["examples"] == {"train": 1200, "validation": 300, "calibration": None, "test": 297}
    assert plan["recipe"]["max_drop"] == 0.02
    assert [step["weights"] for step in plan["steps"]] == [2368, 2368]
    assert list(tmp_path.iterdir()) == []


WRONG = [
    ("missing.py:task", "deep_compression", 66, "there is no such file"),
    ("{task}:nothing_there", "deep_compression", 66, "nothing of this name"),
    ("{task}:tsk", "deep_compression", 66, "Did you mean 'task'?"),
    ("{task}:number", "deep_compression", 66, "is no task"),
    ("{task}:nothing", "deep_compression", 66, "is no task"),
    ("{task}:broken", "deep_compression", 66, "no data here"),
    ("notes.txt", "deep_compression", 66, "nothing that can be compressed"),
    ("missing.safetensors", "weights_only", 66, "there is no such file"),
    ("{task}:task", "deep_compresion", 2, "Did you mean 'deep_compression'?"),
    ("{task}:task", "missing.yaml", 66, "no such recipe file"),
    ("{task}:task", "{folder}/technique.yaml", 2, "Did you mean 'pruning.connection.magnitude'"),
    ("{task}:task", "{folder}/field.yaml", 2, "Did you mean 'density'"),
    ("{task}:task", "{folder}/value.yaml", 2, "density"),
    ("{task}:task", "{folder}/broken.yaml", 2, "line 3"),
]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    step = "version: 1\nname: x\nsteps:\n  - use: {}\n    with: {{{}}}\n"
    (folder / "technique.yaml").write_text(step.format("pruning.connection.magnitud", ""))
    (folder / "field.yaml").write_text(step.format("pruning.connection.magnitude", "densty: 0.1"))
    (folder / "value.yaml").write_text(step.format("pruning.connection.magnitude", "density: much"))
    (folder / "broken.yaml").write_text("version: 1\nsteps: [\n")
    return folder


@pytest.mark.parametrize(("task", "recipe", "code", "said"), WRONG)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    call, task_file, recipes, tmp_path, monkeypatch, task, recipe, code, said
):
    monkeypatch.chdir(tmp_path)
    task, recipe = task.format(task=task_file), recipe.format(folder=recipes)
    answer = call("compress", task, "--recipe", recipe, "-o", "out.fwt")
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_begin_leaves_nothing(call, task_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nan.py").write_text(
        f"import sys\nsys.path.insert(0, {str(task_file.parent)!r})\nimport digits\n"
        "def task():\n    made = digits.task()\n    made.model[0].weight.data[0] = float('nan')\n    return made\n"
    )
    answer = call("compress", "nan.py:task", "-r", "deep_compression", "-o", "out.fwt")
    assert answer.code == 66
    assert "0.weight" in answer.err
    assert {path.name for path in tmp_path.iterdir()} <= {"nan.py", "runs", "__pycache__"}
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_coder_of_the_recipe_is_replaced_where_one_is_asked_for(call, tmp_path):
    """Rows of unlike size: the coder with contexts is the smallest of all. The run tells which were allowed."""
    drawn = torch.randn(300, 400, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.05, 1, 300)[:, None]
    weights = {"a.weight": drawn.half()}
    save_file(weights, tmp_path / "m.safetensors")
    used = {}
    for coder in ("fast", "huffman", None):
        words = [] if coder is None else ["--coder", coder]
        out, directory = tmp_path / f"{coder}.fwt", tmp_path / f"run-{coder}"
        answer = call(
            "compress",
            tmp_path / "m.safetensors",
            "-r",
            "weights_only",
            *words,
            "-o",
            out,
            "--run-dir",
            directory,
            "--json",
        )
        assert answer.code == 0
        assert json.loads(answer.out)["recipe"]["coder"] == coder or coder is None
        with pack.open_file(out) as reader:
            used[coder] = reader.tensors[0].spec[3]
    assert used == {"fast": 3, "huffman": 2, None: 4}
    answer = call(
        "compress", tmp_path / "m.safetensors", "-r", "weights_only", "--coder", "fats", "-o", tmp_path / "x.fwt"
    )
    assert answer.code == 2
    assert "Did you mean 'fast'" in answer.err


def test_a_device_that_is_not_there(call, task_file, recipe_file, tmp_path):
    target = tmp_path / "out.fwt"
    answer = call("compress", f"{task_file}:task", "-r", recipe_file, "-o", target, "--device", "abacus", "--dry-run")
    assert answer.code == 2
    assert "'abacus'" in answer.err


def test_the_target_is_looked_at_before_anything_else(call, tmp_path):
    answer = call("compress", "missing.py:task", "-r", "missing", "-o", tmp_path / "no" / "out.fwt")
    assert answer.code == 73
    assert "does not exist" in answer.err


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no user ids here")
def test_a_directory_that_is_read_only(call):
    """As somebody who may not write there: root may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            answer = call("compress", "missing.py:task", "-r", "missing", "-o", folder / "out.fwt")
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
    assert (answer.code, answer.out) == (77, "")
    assert "cannot be written" in answer.err
    assert answer.err.count("\n") == 1


def test_a_run_directory_of_another_run_is_left_alone(call, task_file, recipe_file, finished, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in finished.directory.rglob("*")}
    words = ["compress", f"{task_file}:task", "-r", recipe_file, "-o", tmp_path / "other.fwt", "--seed", "7"]
    answer = call(*words, "--run-dir", finished.directory)
    assert answer.code == 2
    assert "holds another run" in answer.err
    assert {path: path.stat().st_mtime_ns for path in finished.directory.rglob("*")} == before
