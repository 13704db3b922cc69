"""A task from the user's own file: one clear error for each way to go wrong."""

import sys

import pytest

from featherweight.errors import DataError, TaskError
from featherweight.frontends.callable import PythonCallable

HEAD = "from torch import nn, zeros\nfrom featherweight.core.task import Task\n"


@pytest.fixture
def read(tmp_path):
    def reader(source, name="own.py:task", settings=None, seed=None):
        (tmp_path / "own.py").write_text(HEAD + source)
        return PythonCallable().read(str(tmp_path / name), settings or {}, seed=seed)

    return reader


TASK = "Task(model=nn.Linear(2, 1), example=zeros(1, 2), name='own')"


@pytest.mark.parametrize("name", ["own.py:task", "own.py", "own.py:"])
def test_the_callable_is_called(read, name):
    assert read(f"def task():\n    return {TASK}\n", name).name == "own"


def test_a_task_itself_and_another_name_will_do(read):
    assert read(f"mine = {TASK}\n", "own.py:mine").name == "own"


def test_arguments_are_passed_and_the_seed_only_where_it_is_taken(read):
    source = "def task(width=1, *, seed=0):\n    return Task(model=nn.Linear(width, 1), example=seed)\n"
    task = read(source, settings={"width": 3}, seed=9)
    assert (task.build().in_features, task.example) == (3, 9)
    assert read(source, settings={"seed": 4}, seed=9).example == 4
    assert read(f"def task():\n    return {TASK}\n", seed=9).name == "own"
    assert read("def task(**all):\n    return Task(model=nn.Linear(1, 1), example=all)\n", seed=9).example == {
        "seed": 9
    }


def test_a_wrong_argument_is_answered_with_the_nearest(read):
    with pytest.raises(TaskError, match=r"widht.*'width'"):
        read("def task(width=1):\n    return 0\n", settings={"widht": 3})


def test_an_argument_without_default_is_named(read):
    with pytest.raises(TaskError, match="width"):
        read("def task(width):\n    return 0\n")


def test_a_missing_file_and_a_missing_folder(tmp_path):
    (tmp_path / "lenet5.py").write_text("")
    with pytest.raises(TaskError, match=r"no such file.*'lenet5\.py'"):
        PythonCallable().read(str(tmp_path / "lenet.py:task"), {})
    with pytest.raises(TaskError, match="no folder"):
        PythonCallable().read(str(tmp_path / "gone" / "lenet.py:task"), {})


def test_a_missing_name_is_answered_with_those_of_the_file(read):
    with pytest.raises(TaskError, match="'small_task'"):
        read("def small_task():\n    pass\n", "own.py:tiny_task")
    with pytest.raises(TaskError, match=r"Known: none\."):
        read("")


def test_what_raises_on_import_is_told_with_its_line(read):
    with pytest.raises(TaskError, match=r"own\.py:4.*ZeroDivisionError: division by zero"):
        read("x = 1\n1 / 0\n")


def test_a_file_that_does_not_parse_is_told_with_its_line(read):
    with pytest.raises(TaskError, match=r"own\.py:3.*SyntaxError"):
        read("def task(:\n")


def test_a_missing_package_is_told(read):
    with pytest.raises(TaskError, match=r"ModuleNotFoundError.*no_such_package"):
        read("import no_such_package\n")


@pytest.mark.parametrize(
    ("statement", "words"), [("raise KeyError('w')", "KeyError"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_what_raises_when_called_is_told_with_its_line(read, statement, words):
    with pytest.raises(TaskError, match=rf"own\.py:4.*task\(\) failed: {words}") as caught:
        read(f"def task():\n    {statement}\n")
    assert caught.value.__cause__ is not None


def test_our_own_errors_pass_as_they_are(read):
    with pytest.raises(DataError, match="put it there"):
        read(
            "from featherweight.errors import DataError as E\ndef task():\n    raise E('no file', fix='put it there')\n"
        )


def test_an_interruption_passes(read):
    with pytest.raises(KeyboardInterrupt):
        read("def task():\n    raise KeyboardInterrupt\n")


def test_a_model_alone_is_told_how_to_become_a_task(read):
    with pytest.raises(TaskError, match=r"Linear.*Task\(model="):
        read("def task():\n    return nn.Linear(1, 1)\n")


@pytest.mark.parametrize("source", ["task = 3\n", "def task():\n    return 3\n"])
def test_anything_else_is_no_task(read, source):
    with pytest.raises(TaskError, match="is no task"):
        read(source)


def test_the_file_can_import_its_neighbours_and_leaves_the_path_alone(read, tmp_path):
    (tmp_path / "neighbour_of_own.py").write_text(f"{HEAD}made = {TASK}\n")
    before = list(sys.path)
    source = "import neighbour_of_own\ndef task():\n    import neighbour_of_own as late\n    return late.made\n"
    assert read(source).name == "own"
    assert sys.path == before
    del sys.modules["neighbour_of_own"]


def test_each_read_runs_the_file_anew_and_dataclasses_work(read):
    source = f"from dataclasses import dataclass\n@dataclass\nclass Config:\n    width: int = 2\ntask = {TASK}\n"
    assert read(source).model is not read(source).model
