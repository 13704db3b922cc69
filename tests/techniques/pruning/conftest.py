"""Small networks for scikit-learn's digits, of the kinds that couple channels, and pruning by chance."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from featherweight.core.context import Context, Finetuning
from featherweight.core.task import Task, Training
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._structured import Structured
from featherweight.training.context import TaskContext

SEEDS = (0, 1, 2)


class Residual(nn.Module):
    """Two stages; the shortcut between them takes every second pixel and fills new channels with zeros (option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.a1, self.an1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.a2, self.an2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.b1, self.bn_b1 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.b2, self.bn_b2 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(x + self.an2(self.a2(torch.relu(self.an1(self.a1(x))))))
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        x = torch.relu(short + self.bn_b2(self.b2(torch.relu(self.bn_b1(self.b1(x))))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Concat(nn.Module):
    """Two branches side by side, and the input of both again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 12, 3), nn.Conv2d(8, 20, 3)
        self.norm, self.mix, self.head = nn.BatchNorm2d(40), nn.Conv2d(40, 16, 1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = self.norm(torch.cat([self.left(x), x[:, :, 1:-1, 1:-1], self.right(x)], dim=1))
        logits: Tensor = self.head(torch.relu(self.mix(torch.relu(x))).mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Rows of the image attend to each other; the width of a head is computed in the code, from the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.embed = 4, nn.Linear(8, 32)
        self.qkv, self.out, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.LayerNorm(32)
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x[:, 0])
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, length, 3, self.heads, width // self.heads).unbind(2)
        mixed = functional.scaled_dot_product_attention(*(item.transpose(1, 2) for item in (q, k, v)))
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        x = x + self.down(functional.gelu(self.up(x)))
        logits: Tensor = self.head(x.mean(1))
        return logits


class Recurrent(nn.Module):
    """Reads the image row by row, in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 32, num_layers=2, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rnn(x[:, 0])[0][:, -1])
        return logits


def plain() -> nn.Module:
    """Two convolutions with batch norms and two linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 48), nn.ReLU(), nn.Linear(48, 10)),
    )


NETWORKS = {"plain": plain, "residual": Residual, "concat": Concat, "attention": Attention, "lstm": Recurrent}


@dataclass(frozen=True, kw_only=True)
class Chance(Structured):
    """Channels drawn by lot."""

    survey: ClassVar[str] = "none"

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        generator = context.generator("chance")
        return [torch.rand(len(group), generator=generator) for group in groups]


class Images:
    """Digits as images (n, 1, 8, 8): contexts over them, and networks trained for a moment."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        self.inputs = (torch.tensor(images, dtype=torch.float32) / 16 - 0.3).reshape(-1, 1, 8, 8)[order]
        self.labels = torch.tensor(labels)[order]
        self._trained: dict[tuple[str, int], nn.Module] = {}

    def fresh(self, name: str, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return NETWORKS[name]()

    def trained(self, name: str, seed: int = 0) -> nn.Module:
        """Two epochs: it works, and its loss still has a gradient."""
        if (name, seed) not in self._trained:
            model = self.fresh(name, seed)
            self.context(seed).finetune(model, Finetuning(epochs=3, learning_rate=3e-3, final_learning_rate=1e-3))
            self._trained[name, seed] = model
        return copy.deepcopy(self._trained[name, seed])

    def context(self, seed: int = 0, run: object = None, **training: object) -> TaskContext:
        usual = {"learning_rate": 3e-3, "batch_size": 64}
        task = Task(
            model=nn.Identity(),
            example=self.inputs[:2],
            train=(self.inputs[:1347], self.labels[:1347]),
            validation=(self.inputs[1347:], self.labels[1347:]),
            training=Training(**(usual | training)),
            name="digits",
        )
        return TaskContext(task, seed=seed, run=run)

    def accuracy(self, model: nn.Module) -> float:
        return self.context().evaluate(model)

    def mean(self, technique: Structured, network: str = "plain") -> float:
        """The mean accuracy over three seeds after pruning three networks."""
        found = [self.accuracy(technique.apply(self.trained(network, s), self.context(s))) for s in SEEDS]
        return sum(found) / len(found)


@pytest.fixture(scope="session")
def images() -> Images:
    return Images()
