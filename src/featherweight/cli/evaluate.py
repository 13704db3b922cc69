"""`featherweight evaluate`: how good a compressed network is on the data of a task."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from featherweight.cli import contents
from featherweight.cli.late import Late
from featherweight.cli.options import Debug, Device, File, Json, Seed, task_names
from featherweight.cli.output import document, line
from featherweight.cli.progress import waiting
from featherweight.report.scale import Scores
from featherweight.report.text import count_text

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from featherweight.container import pack
    from featherweight.core.task import Task
    from featherweight.frontends import resolve
    from featherweight.training import context as contexts
    from featherweight.training import evaluate as evaluation
    from featherweight.training import losses
else:
    contexts = Late("featherweight.training.context")
    evaluation = Late("featherweight.training.evaluate")
    losses = Late("featherweight.training.losses")
    pack = Late("featherweight.container.pack")
    resolve = Late("featherweight.frontends.resolve")


class Split(StrEnum):
    """The data that a network can be judged by."""

    test = "test"
    validation = "validation"


TaskName = Annotated[
    str, typer.Option("--task", "-t", metavar="TASK", help="file.py:callable with the data.", autocompletion=task_names)
]
SplitName = Annotated[Split, typer.Option("--split", help="Which examples to judge by.")]


def evaluate(
    file: File,
    task: TaskName,
    split: SplitName = Split.test,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Runs a compressed network on the test (or validation) data of a task and prints its score.

    Example: featherweight evaluate lenet5.fwt --task examples/lenet5.py:task
    """
    with waiting("evaluating", quiet=json):
        described = resolve.read_task(task, seed=seed)
        context = contexts.TaskContext(described, seed=seed, device=device)
        examples = described.examples(split.value)
        model = _model(file, described).to(context.device)
        where = f"{described.name}.{split.value}"
        score = evaluation.evaluate(model, examples, losses.score_of(described), where=where, device=context.device)
    if json:
        document({"file": str(file), "task": task, "split": split.value, "examples": len(examples), "score": score})
    else:
        shown = Scores.of([score]).text(score)
        line(f"{file}: score {shown} on {count_text(len(examples))} {split.value} examples")


def _model(file: "Path", task: "Task") -> "nn.Module":
    """The network of the file; a file of weights alone is loaded into the task's network."""
    with contents.opened(file) as reader:
        runs_alone = reader.graph is not None
    return pack.load(file) if runs_alone else pack.load(file, into=task.build())
