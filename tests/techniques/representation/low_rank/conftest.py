"""Networks and contexts for low rank: small, untrained or trained on scikit-learn's digits as images."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.core.task import Task, Training
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.training.context import TaskContext


def lend(model, example, **data) -> TaskContext:
    """A context for a model and an example, with whatever data there is."""
    return TaskContext(Task(model=model, example=example, **data))


class Images:
    """The digits as images (n, 1, 8, 8), and a network of three convolutions trained on them."""

    def __init__(self, digits) -> None:
        self.digits = digits
        self.inputs, self.held = (part.reshape(-1, 1, 8, 8) for part in (digits.inputs, digits.held_inputs))
        self._dense = self.fresh()
        self.context().finetune(self._dense, Finetuning(epochs=6, learning_rate=4e-3))
        self._dense.eval()

    @staticmethod
    def fresh() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def dense(self) -> nn.Sequential:
        return copy.deepcopy(self._dense)

    def context(self, *, train: bool = True) -> TaskContext:
        task = Task(
            model=self.fresh(),
            example=self.inputs[:2],
            train=(self.inputs, self.digits.labels) if train else None,
            calibration=(self.inputs[:400], self.digits.labels[:400]),
            validation=(self.held, self.digits.held_labels),
            training=Training(learning_rate=2e-3, batch_size=64),
            name="digit images",
        )
        return TaskContext(task)

    def accuracy(self, model: nn.Module) -> float:
        return self.context().evaluate(model)


@pytest.fixture(scope="session")
def images(digits) -> Images:
    return Images(digits)


@pytest.fixture
def lender() -> Callable[..., TaskContext]:
    return lend


@pytest.fixture
def sequences() -> nn.Module:
    torch.manual_seed(0)
    return LstmClassifier(width=12, hidden=20, classes=3).eval()
