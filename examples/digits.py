"""A small network on the 8x8 digits of scikit-learn: everything takes seconds. `examples/digits.py:task`."""

from torch import nn

import featherweight as fw
from _trained import trained
from featherweight.data.resolve import find


def network() -> nn.Module:
    """64 - 300 - 100 - 10, ReLU between: 50,610 parameters."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def task(seed: int = 0) -> fw.Task:
    """The trained network and its data."""
    training = fw.Training(optimizer="adamw", weight_decay=0.01, learning_rate=2e-3, batch_size=32, epochs=20)
    return trained(network, find("digits"), training, name="digits", seed=seed)
