"""A small real run for tests, as a process of its own: digits, pruned and shared, each under a guard.

sitting.py RUN_DIR                     one sitting; exits like the command line does
sitting.py ROOT --kill SEED RUNS EACH  ROOT/straight is one sitting; ROOT/0, ROOT/1, ... are RUNS runs, each of
                                       which is killed -9 EACH times at random moments before its last sitting
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from sklearn.datasets import load_digits
from torch import nn

from featherweight.core.task import Task, Training
from featherweight.errors import FeatherweightError
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.run import compress
from featherweight.training import checkpoint
from featherweight.training.context import TaskContext

RECIPE = """
version: 1
name: pruned_and_shared
max_drop: 0.3
steps:
  - use: pruning.connection.magnitude
    with: {density: 0.2, epochs: 12, sensitivity: true}
  - use: representation.sharing.kmeans
    with: {bits: 0, epochs: 3}
    max_drop: 0.03
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class News:
    """Progress on standard output, one line a piece of news."""

    def bar(self, label: str, total: float):
        say(f"bar {label}")
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass

    def advance(self, amount: float = 1.0) -> None:
        pass

    def note(self, text: str) -> None:
        say(text)


def task() -> Task:
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[:1200]), labels[:1200]).backward()
        optimizer.step()
    return Task(
        model=model,
        example=images[:2],
        train=(images[:1200], labels[:1200]),
        validation=(images[1200:1500], labels[1200:1500]),
        training=Training(batch_size=16, learning_rate=2e-3, weight_decay=1e-4),
        name="digits",
    )


def sit(directory: Path, made: Task) -> None:
    checkpoint.INTERVAL = 0.05
    compress(made.model, Recipe.read(RECIPE), TaskContext(made, progress=News()), run_dir=directory)


def sit_and_leave(directory: Path) -> None:
    try:
        sit(directory, task())
    except FeatherweightError as error:
        say(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)


def sat_through(directory: Path, made: Task, seconds: float) -> bool:
    """Whether a sitting, in a process of its own, came to its end before it was killed after `seconds`."""
    process = os.fork()  # everything is imported and the model trained already, so the time is that of the run
    if process == 0:
        code = 1
        try:
            sit(directory, made)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if os.waitstatus_to_exitcode(status) != 0:
                sys.exit(f"a sitting failed: {status}")
            return True
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def kill_until_done(directory: Path, made: Task, moments: random.Random, each: int, seconds: float) -> int:
    """How often the run was killed; a moment lies anywhere in the first third of what a whole run takes."""
    kills = 0
    while kills < each:
        if sat_through(directory, made, moments.uniform(0.0, seconds / 3)):
            return kills
        kills += 1
    sat_through(directory, made, float("inf"))
    return kills


def main_kill(root: Path, seed: int, wanted: int, each: int) -> None:
    made, moments = task(), random.Random(seed)
    start = time.monotonic()
    sat_through(root / "straight", made, float("inf"))
    seconds = time.monotonic() - start
    kills = runs = 0
    while kills < wanted:  # a run may end before it was killed often: how fast the machine is changes all the time
        kills += kill_until_done(root / str(runs), made, moments, min(each, wanted - kills), seconds)
        runs += 1
    say(f"kills {kills} runs {runs}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2:3] == ["--kill"]:
        main_kill(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[3:6]))
    else:
        sit_and_leave(Path(sys.argv[1]))
