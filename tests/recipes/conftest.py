from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from featherweight.core import catalog
from featherweight.core.context import Finetuning
from featherweight.core.task import Task, Training
from featherweight.graph import log as logs
from featherweight.recipes.recipe import Recipe, Step
from featherweight.techniques.base import SOCKET, Technique


class Sealed:
    """Examples that nobody may look at."""

    def __len__(self) -> int:
        raise AssertionError("test data were counted")

    def gather(self, indices):
        raise AssertionError("test data were read")


@dataclass(frozen=True, kw_only=True)
class Noise(Technique):
    """Adds noise to all weights: the more, the worse the score."""

    strength: ClassVar[str | None] = "amount"
    amount: float = 1.0  # standard deviations

    def apply(self, model: nn.Module, context) -> nn.Module:
        generator = context.generator("noise")
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * self.amount)
        context.record("amount", self.amount)
        return model


@dataclass(frozen=True, kw_only=True)
class Nan(Technique):
    """Ruins the model outright, at every strength."""

    strength: ClassVar[str | None] = "level"
    level: int = 8

    def apply(self, model: nn.Module, context) -> nn.Module:
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model


@dataclass(frozen=True, kw_only=True)
class Tune(Technique):
    """Trains, and changes a plain setting of a module."""

    epochs: float = 1.0
    dropout: float = 0.05

    def apply(self, model: nn.Module, context) -> nn.Module:
        model[3].p = self.dropout
        context.finetune(model, Finetuning(epochs=self.epochs, learning_rate=1e-3))
        return model


@dataclass(frozen=True, kw_only=True)
class Narrow(Technique):
    """Another network: the hidden layer loses its second half."""

    def apply(self, model: nn.Module, context) -> nn.Module:
        half = model[0].out_features // 2
        smaller = nn.Sequential(
            nn.Linear(64, half), nn.BatchNorm1d(half), nn.ReLU(), nn.Dropout(0.1), nn.Linear(half, 10)
        )
        with torch.no_grad():
            for name, tensor in smaller.state_dict().items():
                tensor.copy_(model.state_dict()[name][tuple(slice(0, size) for size in tensor.shape)])
        context.finetune(smaller, Finetuning(epochs=2, learning_rate=3e-3))
        return smaller


@dataclass(frozen=True, kw_only=True)
class Cut(Technique):
    """The same by surgery: the log says how, so a run can be taken up behind it."""

    runs: ClassVar[list[int]] = []

    def apply(self, model: nn.Module, context) -> nn.Module:
        self.runs.append(1)
        width = model[0].out_features
        half = (logs.Cut.of(0, width, range(0, width, 2)),)
        names = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
        cuts = dict.fromkeys(names, half) | {"4.weight": (logs.Cut(1, width, half[0].kept),)}
        swap = logs.Replacement((("2", {"kind": "LeakyReLU"}),))
        smaller = logs.replay(model, logs.Log((logs.Removal(cuts), swap)))
        smaller[3].p = 0.05
        context.finetune(smaller, Finetuning(epochs=2, learning_rate=3e-3))
        return smaller


@dataclass(frozen=True, kw_only=True)
class Fail(Technique):
    """Stops the run as a kill would, once the flag is up."""

    up: ClassVar[list[bool]] = []

    def apply(self, model: nn.Module, context) -> nn.Module:
        if self.up:
            raise KeyboardInterrupt
        return model


FAKES = {
    "fake.cut": Cut,
    "fake.noise": Noise,
    "fake.nan": Nan,
    "fake.tune": Tune,
    "fake.narrow": Narrow,
    "fake.fail": Fail,
}


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes are techniques of another package, found by their entry points."""

    def entry_points(group: str) -> list[SimpleNamespace]:
        found = FAKES if group == SOCKET else {}
        return [SimpleNamespace(name=name, load=lambda cls=cls: cls) for name, cls in found.items()]

    monkeypatch.setattr(catalog, "entry_points", entry_points)
    Fail.up.clear()
    Cut.runs.clear()


def one(use: str, max_drop: float | None = None, required: bool = False, **settings) -> Step:
    return Step(use, FAKES[use](**settings), max_drop, required)


def recipe(*steps: Step, **whole) -> Recipe:
    return Recipe(name="test", steps=steps, **whole)


def trained() -> nn.Module:
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[:1200]), labels[:1200]).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="session")
def _model() -> nn.Module:
    return trained()


@pytest.fixture
def task(_model: nn.Module) -> Task:
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    return Task(
        model=_model,
        example=images[:2],
        train=(images[:1200], labels[:1200]),
        validation=(images[1200:1500], labels[1200:1500]),
        test=Sealed(),
        training=Training(batch_size=64, learning_rate=2e-3),
        name="digits",
    )


State = dict[str, torch.Tensor]


@pytest.fixture
def state() -> Callable[[nn.Module], State]:
    return lambda model: {name: tensor.clone() for name, tensor in model.state_dict().items()}
