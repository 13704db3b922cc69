"""Task: what is to be kept, said once."""

import dataclasses

import pytest
import torch
from torch import nn

from featherweight.core.task import Task, Training
from featherweight.errors import DataError, TaskError

DATA = (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
OTHER = (torch.ones(3, 2), torch.zeros(3, dtype=torch.long))


def _task(**changes):
    return Task(**{"model": nn.Linear(2, 3), "example": torch.zeros(1, 2), **changes})


def test_the_model_itself_or_a_function_that_builds_it():
    model = nn.Linear(2, 3)
    assert _task(model=model).build() is model
    built = _task(model=lambda: nn.Linear(2, 3))
    assert isinstance(built.build(), nn.Linear)
    assert built.build() is not built.build()


@pytest.mark.parametrize("made", [None, 3, {"weight": 1}, nn.Linear])
def test_what_is_no_model_is_refused(made):
    with pytest.raises(TaskError, match=r"must be an nn\.Module") as caught:
        _task(model=lambda: made, name="lenet5").build()
    assert caught.value.where == "lenet5"
    assert caught.value.value == type(made).__name__


@pytest.mark.parametrize(
    ("example", "count"),
    [(torch.zeros(1, 2), 1), ((torch.zeros(1, 2),), 1), ([torch.zeros(1), torch.zeros(1)], 2), ({"x": 1}, 1)],
)
def test_the_example_as_positional_inputs(example, count):
    inputs = _task(example=example).inputs()
    assert isinstance(inputs, tuple)
    assert len(inputs) == count


@pytest.mark.parametrize("split", ["train", "validation", "calibration", "test"])
def test_each_split_is_its_own(split):
    assert len(_task(**{split: DATA}).examples(split)) == 4


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ({"train": DATA, "validation": OTHER}, 4),
        ({"validation": OTHER}, 3),
        ({"train": DATA, "calibration": OTHER}, 3),
    ],
)
def test_calibration_falls_back_to_training_and_then_validation_data(given, length):
    assert len(_task(**given).examples("calibration")) == length


def test_test_data_is_never_a_fall_back():
    task = _task(test=DATA)
    for split in ("train", "validation", "calibration"):
        with pytest.raises(TaskError, match=f"no {split} data"):
            task.examples(split)


def test_a_split_that_is_missing_says_what_to_give():
    with pytest.raises(TaskError) as caught:
        _task(name="lenet5").examples("train")
    assert str(caught.value) == (
        "lenet5: the task has no train data. Give Task(..., train=...), or leave out the steps that need it."
    )


def test_data_that_cannot_be_read_names_task_and_split():
    with pytest.raises(DataError) as caught:
        _task(name="lenet5", train=3).examples("train")
    assert caught.value.where == "lenet5.train"


def test_settings_cannot_be_changed_or_given_by_position():
    with pytest.raises(dataclasses.FrozenInstanceError):
        _task().name = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Training().epochs = 3
    with pytest.raises(TypeError):
        Training("sgd")


def test_training_by_default():
    assert dataclasses.asdict(Training()) == {
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 64,
        "epochs": 10.0,
        "label_smoothing": 0.0,
    }
