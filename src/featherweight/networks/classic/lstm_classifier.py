"""A classifier of sequences: an LSTM (Hochreiter and Schmidhuber 1997) and one linear layer on its last step.

The rows of an image are a sequence too: a batch of MNIST digits is 28 steps of 28 values.
"""

from torch import Tensor, nn


class LstmClassifier(nn.Module):
    """`width` values a step in, `hidden` units in each of `layers` layers, logits of `classes` out.

    With the defaults 4 * 128 * (28 + 128 + 2) + 128 * 10 + 10 = 82,186 parameters.
    """

    def __init__(self, width: int = 28, hidden: int = 128, classes: int = 10, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, sequences: Tensor) -> Tensor:
        """Logits (batch, classes) of sequences (batch, steps, width) or of images (batch, 1, steps, width)."""
        if sequences.dim() == 4:
            sequences = sequences.squeeze(1)
        steps, _ = self.lstm(sequences)
        logits: Tensor = self.fc(steps[:, -1])
        return logits
