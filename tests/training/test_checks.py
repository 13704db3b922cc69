from dataclasses import replace

import pytest
import torch
from tests.training.conftest import Sealed, digits, network
from torch import nn

from featherweight.core.task import Task
from featherweight.errors import DataError, TaskError
from featherweight.training.checks import check_data, check_weights, example_of

CPU = torch.device("cpu")


def test_a_task_that_fits_passes_and_test_data_are_not_read(task) -> None:
    check_weights(task.model)
    check_data(task.model, task, CPU)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named(task, bad: float) -> None:
    with torch.no_grad():
        task.model[4].weight[1, 2] = bad
    with pytest.raises(TaskError, match=r"digits\.4\.weight.*NaN or infinity.*1 of 320"):
        check_weights(task.model, "digits")


def test_large_but_finite_weights_pass() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(3e38)  # the sum overflows, no weight does
    check_weights(model)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_layer_is_named() -> None:
    with pytest.raises(TaskError, match=r"0\.weight.*no elements"):
        check_weights(nn.Sequential(nn.Linear(0, 3)))


def test_inputs_of_another_shape(task) -> None:
    images, labels = digits()
    with pytest.raises(DataError, match=r"digits\.validation.*does not take these inputs.*\(2, 63\)"):
        check_data(task.model, replace(task, validation=(images[:, 1:], labels)), CPU)


def test_inputs_of_another_type(task) -> None:
    images, labels = digits()
    with pytest.raises(DataError, match=r"digits\.train.*type or rank.*float64"):
        check_data(task.model, replace(task, train=(images.double(), labels)), CPU)


def test_another_number_of_inputs(task) -> None:
    images, labels = digits()
    with pytest.raises(DataError, match=r"number of inputs.*2.*example has 1"):
        check_data(task.model, replace(task, train=(images, images, labels)), CPU)


def test_an_example_that_does_not_fit(task) -> None:
    with pytest.raises(DataError, match=r"digits\.example"):
        check_data(task.model, replace(task, example=torch.zeros(2, 5)), CPU)


def test_more_labels_than_classes(task) -> None:
    images, labels = digits()
    labels = labels.clone()
    labels[700] = 10  # far from the two examples that are run
    with pytest.raises(DataError, match=r"from 0 to 10, but the model knows the classes 0 to 9"):
        check_data(task.model, replace(task, train=(images, labels)), CPU)


def test_labels_that_are_no_class_numbers(task) -> None:
    images, labels = digits()
    with pytest.raises(DataError, match=r"int64.*torch.float32.*Task\(loss=..., score=...\)"):
        check_data(task.model, replace(task, train=(images, labels.float())), CPU)


def test_nan_in_the_data(task) -> None:
    images, labels = digits()
    images[0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        check_data(task.model, replace(task, train=(images, labels)), CPU)


def test_a_loss_that_is_no_number(task) -> None:
    per_example = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(TaskError, match="loss must give one number"):
        check_data(task.model, replace(task, loss=per_example), CPU)


def test_a_score_that_is_a_mean(task) -> None:
    with pytest.raises(TaskError, match=r"shape \(n,\), here \(2,\)"):
        check_data(task.model, replace(task, score=lambda output, target: output.mean()), CPU)


def test_a_checkpoint_alone_has_no_example_and_is_not_run() -> None:
    class Holder(nn.Module):
        def forward(self, *inputs):
            raise AssertionError("was run")

    for example in (None, ()):
        bare = Task(model=Holder(), example=example, test=Sealed())
        assert example_of(bare) == ()
        check_data(bare.model, bare, CPU)


def test_own_loss_and_score_need_no_classes() -> None:
    inputs = torch.randn(8, 64)
    task = Task(
        model=network(),
        example=inputs[:1],
        train=(inputs, torch.randn(8, 10)),
        loss=nn.MSELoss(),
        score=lambda output, target: -(output - target).square().mean(1),
    )
    check_data(task.model, task, CPU)
