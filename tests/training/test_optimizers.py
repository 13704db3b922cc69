import pytest
import torch
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.core.task import Training
from featherweight.errors import ConfigError
from featherweight.training.optimizers import optimizer_of


def made(training: Training, **settings) -> torch.optim.Optimizer:
    return optimizer_of(nn.Linear(2, 2), training, Finetuning(**{"epochs": 1, "learning_rate": 0.1, **settings}))


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_kinds(name: str, kind: type) -> None:
    assert type(made(Training(optimizer=name))) is kind
    assert type(made(Training(), optimizer=name)) is kind


def test_values_come_from_the_settings_and_else_from_the_task() -> None:
    training = Training(optimizer="sgd", momentum=0.7, weight_decay=0.03)
    group = made(training).param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.1, 0.7, True, 0.03)
    assert made(training, weight_decay=0.0).param_groups[0]["weight_decay"] == 0.0


def test_plain_descent_without_momentum() -> None:
    assert made(Training(optimizer="sgd", momentum=0.0)).param_groups[0]["nesterov"] is False


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ConfigError, match=r"'adan'.*Did you mean 'adam'"):
        made(Training(optimizer="adan"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", -1.0), ("learning_rate", float("nan")), ("weight_decay", -0.1), ("average", 1.0)],
)
def test_values_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        made(Training(), **{field: value})


def test_a_frozen_model_cannot_be_trained() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigError, match="requires_grad"):
        optimizer_of(model, Training(), Finetuning(epochs=1, learning_rate=0.1))
