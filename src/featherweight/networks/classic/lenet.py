"""The two networks on MNIST that pruning papers measure: LeNet-300-100 and LeNet-5 as Caffe has it.

LeCun et al. 1998, in the forms of Han et al. 2015 (survey [17], [18]): 266,610 and 431,080 parameters. Inputs are
images of shape (batch, 1, 28, 28); outputs are logits of shape (batch, classes).
"""

from torch import Tensor, nn
from torch.nn import functional


class LeNet300100(nn.Module):
    """784 - 300 - 100 - `classes`, ReLU between: 266,610 parameters with 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 1, 28, 28), or of anything that flattens to (batch, 784)."""
        hidden = functional.relu(self.fc1(images.flatten(1)))
        hidden = functional.relu(self.fc2(hidden))
        logits: Tensor = self.fc3(hidden)
        return logits


class LeNet5(nn.Module):
    """Caffe's LeNet: conv 20@5x5, pool 2, conv 50@5x5, pool 2, 500 ReLU, `classes`; nothing but pooling after the
    convolutions. 431,080 parameters with 10 classes.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 1, 28, 28)."""
        maps = functional.max_pool2d(self.conv1(images), 2)
        maps = functional.max_pool2d(self.conv2(maps), 2)
        logits: Tensor = self.fc2(functional.relu(self.fc1(maps.flatten(1))))
        return logits
