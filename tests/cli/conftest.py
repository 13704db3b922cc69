"""The command line in the same process, and a small task that it can work on in seconds."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from featherweight.cli.app import app

TASK = '''
"""The 1,797 digits of scikit-learn and a small network that knows them."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from featherweight.core.task import Task, Training


def task(seed: int = 0) -> Task:
    digits = load_digits()
    inputs = torch.tensor(digits.data, dtype=torch.float32) / 16
    target = torch.tensor(digits.target)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[:1200]), target[:1200]).backward()
        optimizer.step()
    return Task(
        model=model,
        example=inputs[:2],
        train=(inputs[:1200], target[:1200]),
        validation=(inputs[1200:1500], target[1200:1500]),
        test=(inputs[1500:], target[1500:]),
        training=Training(learning_rate=5e-3, batch_size=64, epochs=2),
        name="digits",
    )


number = 3


def nothing():
    return None


def broken():
    raise ValueError("no data here")
'''

RECIPE = """
version: 1
name: quick
steps:
  - use: pruning.connection.magnitude
    with: {density: 0.4, epochs: 1, sensitivity: true}
  - use: representation.sharing.kmeans
    with: {bits: 3, epochs: 1}
"""


@dataclass(frozen=True)
class Answer:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def call() -> Callable[..., Answer]:
    """Calls the command line with words and gives exit code, stdout and stderr."""

    def run(*words: object) -> Answer:
        result = CliRunner().invoke(app, [str(word) for word in words])
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python file with a task and several things that are none."""
    path = tmp_path_factory.mktemp("task") / "digits.py"
    path.write_text(TASK, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Finished:
    """A run of `compress` that went through: where it was kept, the file, and what it printed with --json."""

    directory: Path
    file: Path
    printed: dict[str, Any]


@pytest.fixture(scope="session")
def finished(call, task_file, recipe_file, tmp_path_factory) -> Finished:
    """One run of the whole main job; tests must not change its files."""
    place = tmp_path_factory.mktemp("finished")
    directory, file = place / "run", place / "digits.fwt"
    answer = call("compress", f"{task_file}:task", "-r", recipe_file, "-o", file, "--run-dir", directory, "--json")
    assert (answer.code, answer.err) == (0, "")
    return Finished(directory, file, json.loads(answer.out))


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that takes a second."""
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
