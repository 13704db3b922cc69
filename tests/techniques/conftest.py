"""The reference experiment: a network for scikit-learn's digits, trained once."""

import copy
from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.core.task import Task, Training
from featherweight.training.context import TaskContext


class Digits:
    """Data, a trained 64-300-100-10 network, and contexts over them."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        parts = train_test_split(images / 16 - 0.3, labels, train_size=1347, random_state=0, stratify=labels)
        self.inputs, self.held_inputs = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
        self.labels, self.held_labels = (torch.tensor(part) for part in parts[2:])
        self._dense = self.fresh(0)
        settings = Finetuning(epochs=20, learning_rate=2e-3)
        self.context().finetune(self._dense, settings)

    @staticmethod
    def fresh(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))

    def dense(self) -> nn.Sequential:
        return copy.deepcopy(self._dense)

    def context(self, *, train: bool = True, **training: object) -> TaskContext:
        usual = {"learning_rate": 1e-3, "batch_size": 32, "weight_decay": 1e-4}
        task = Task(
            model=self.fresh(0),
            example=self.inputs[:1],
            train=(self.inputs, self.labels) if train else None,
            validation=(self.held_inputs, self.held_labels),
            training=Training(**(usual | training)),
            name="digits",
        )
        return TaskContext(task)

    def accuracy(self, model: nn.Module) -> float:
        return self.context().evaluate(model)


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits()


@pytest.fixture
def lent(digits: Digits) -> Callable[..., TaskContext]:
    return digits.context
