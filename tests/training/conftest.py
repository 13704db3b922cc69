import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from featherweight.core.task import Task, Training


class Sealed:
    """Examples that nobody may look at."""

    def __len__(self) -> int:
        raise AssertionError("test data were counted")

    def gather(self, indices: Tensor):
        raise AssertionError("test data were read")


class Mask:
    """The simplest constraint: zeros where the mask is False."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def gradient(self, gradient: Tensor) -> Tensor:
        return gradient * self.mask

    def project(self, weight: Tensor) -> Tensor:
        return weight * self.mask

    def updated(self, weight: Tensor) -> "Mask":
        return self

    def state(self) -> dict[str, Tensor]:
        return {"mask": self.mask}

    def restored(self, state) -> "Mask":
        return Mask(state["mask"])


def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def network(seed: int = 0, dropout: float = 0.1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10))


@pytest.fixture
def task() -> Task:
    images, labels = digits()
    return Task(
        model=network(),
        example=images[:2],
        train=(images[:1200], labels[:1200]),
        validation=(images[1200:1500], labels[1200:1500]),
        test=Sealed(),
        training=Training(batch_size=64, learning_rate=3e-3),
        name="digits",
    )


class MemoryStore:
    """A training.checkpoint.Store that outlives the loop in memory; stops after a given number of writes."""

    def __init__(self, stop=None, after: int = 0) -> None:
        self.kept, self.stop, self.after, self.writes = {}, stop, after, 0

    def read(self, key):
        return self.kept.get(key)

    def write(self, key, saved) -> None:
        self.writes += 1
        tensors = {name: tensor.clone() for name, tensor in saved.tensors.items()}
        self.kept[key] = type(saved)(dict(saved.meta, losses=list(saved.meta.get("losses", []))), tensors)

    def stop_requested(self):
        self.after -= 1
        return self.stop if self.after < 0 else None
