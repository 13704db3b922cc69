from pathlib import Path

import pytest

from featherweight.cli import jobs
from featherweight.errors import InterruptedRunError, UsageError
from featherweight.recipes.recipe import Recipe


def test_an_order_survives_its_file():
    job = jobs.Job(
        task="a.py:task",
        recipe="deep_compression",
        output=Path("a.fwt"),
        seed=3,
        max_drop=0.1,
        coder="fast",
        extras=False,
    )
    assert jobs.Job.from_json(job.to_json(), Path("order.json")) == job


def test_a_settled_order_depends_on_no_directory_and_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.read("deep_compression")
    settled = jobs.Job(task="a/b.py:make", recipe="deep_compression", output=Path("a.fwt")).settled(recipe)
    assert settled.task == f"{tmp_path}/a/b.py:make"
    assert settled.output == tmp_path / "a.fwt"
    assert Recipe.read(settled.recipe) == recipe
    plain = jobs.Job(task="w.safetensors", recipe="x", output=Path("a.fwt"), coder="fast").settled(recipe)
    assert plain.coder is None  # the recipe says it by then
    assert plain.task == f"{tmp_path}/w.safetensors"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "a"}', '{"task": "a", "recipe": "b", "output": 3}', "nul"])
def test_a_damaged_order_says_so(text):
    with pytest.raises(UsageError, match="Run `compress` again"):
        jobs.Job.from_json(text, Path("order.json"))


def test_an_order_of_another_release_says_so():
    with pytest.raises(UsageError, match="unknown entries"):
        jobs.Job.from_json('{"task": "a", "recipe": "b", "output": "c", "colour": 1}', Path("order.json"))


def test_each_run_gets_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [jobs._made(None, "a/../b c-quick") for _ in range(2)]
    assert [str(path) for path in made] == ["runs/a_.._b_c-quick-001", "runs/a_.._b_c-quick-002"]
    assert jobs._made(tmp_path / "x" / "y", "ignored").is_dir()


def stopped(directory, error):
    with pytest.raises(type(error)) as caught, jobs._resumable(directory):
        raise error
    return str(caught.value)


def test_a_run_that_was_stopped_says_how_to_go_on(tmp_path, capsys):
    (tmp_path / jobs.STATE).touch()
    assert f"featherweight resume {tmp_path}" in stopped(tmp_path, InterruptedRunError("stopped"))
    stopped(tmp_path, KeyboardInterrupt())
    assert f"featherweight resume {tmp_path}" in capsys.readouterr().err
    assert stopped(tmp_path, ValueError("other")) == "other"


def test_a_run_that_did_not_begin_is_taken_away(tmp_path):
    begun = tmp_path / "run"
    begun.mkdir()
    (begun / jobs.ORDER).touch()
    stopped(begun, ValueError("no"))
    assert not begun.exists()


def test_files_of_the_users_are_not_taken_away(tmp_path):
    (tmp_path / "mine.txt").touch()
    (tmp_path / jobs.ORDER).touch()
    stopped(tmp_path, ValueError("no"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
