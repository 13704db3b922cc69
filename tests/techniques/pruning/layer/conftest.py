"""A small residual network for scikit-learn's digits, trained once a session, and contexts over toy data."""

import copy

import pytest
import torch
from torch import Tensor, nn

from featherweight.core.context import Finetuning
from featherweight.core.examples import Batch
from featherweight.core.task import Task, Training
from featherweight.training.capture import recalibrate
from featherweight.training.context import TaskContext


class Block(nn.Module):
    """relu(x + f(x)) with two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Deep(nn.Module):
    """Two stages of three blocks."""

    def __init__(self, width: int = 8, wide: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.one = nn.Sequential(*(Block(width) for _ in range(3)))
        self.down = nn.Sequential(
            nn.Conv2d(width, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
        )
        self.two = nn.Sequential(*(Block(wide) for _ in range(3)))
        self.head = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.two(self.down(self.one(self.stem(x)))).mean((2, 3)))
        return logits


def silence(block: Block) -> None:
    """Makes a block an exact identity (of what comes out of a ReLU)."""
    with torch.no_grad():
        block.norm2.weight.zero_()
        block.norm2.bias.zero_()


class Digits:
    """Contexts over the digits, and the network trained on them."""

    def __init__(self, images) -> None:
        self._images = images
        self._trained: dict[int, nn.Module] = {}

    def context(self, seed: int = 0, run: object = None) -> TaskContext:
        return self._images.context(seed, run)

    def trained(self, seed: int = 0) -> nn.Module:
        if seed not in self._trained:
            torch.manual_seed(seed)
            model = Deep()
            self.context(seed).finetune(model, Finetuning(epochs=5, learning_rate=4e-3))
            self._trained[seed] = model
        return copy.deepcopy(self._trained[seed])


@pytest.fixture(scope="session")
def digits(images) -> Digits:
    return Digits(images)


def toy(model: nn.Module, seed: int = 0, run: object = None) -> TaskContext:
    """A context over 96 random examples, labelled by the model itself once its norms know 64 of them."""
    inputs = torch.randn(96, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    recalibrate(model, [Batch((inputs[:64],), None)])
    with torch.no_grad():
        labels = model.eval()(inputs).argmax(1)
    task = Task(
        model=model,
        example=inputs[:2],
        train=(inputs[:64], labels[:64]),
        validation=(inputs[64:], labels[64:]),
        training=Training(learning_rate=1e-3, batch_size=16),
        name="toy",
    )
    return TaskContext(task, seed=seed, run=run)


def deep(seed: int = 0, **sizes: int) -> nn.Module:
    """An untrained network; its norms have statistics and scales of their own."""
    torch.manual_seed(seed)
    model = Deep(**sizes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 1.0)
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        model.head.weight.mul_(30)  # sure of what it says: whatever changes it costs
    return model.eval()
