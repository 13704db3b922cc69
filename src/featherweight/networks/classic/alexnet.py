"""AlexNet as Caffe has it (Krizhevsky et al. 2012): convolutions 2, 4 and 5 in two groups.

This is the network of the tables of Han et al. (survey [17], [18], [19]): 60,965,224 parameters, 724.4 million
multiply-adds. The one in torchvision is another network. Inputs (batch, 3, 227, 227), outputs logits (batch, classes).
"""

from torch import Tensor, nn
from torch.nn import functional


class AlexNet(nn.Module):
    """conv1 to conv5 and fc6 to fc8; local response normalisation (5, 1e-4, 0.75) before the first two pools."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(9216, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 227, 227)."""
        maps = functional.max_pool2d(self.norm(functional.relu(self.conv1(images))), 3, 2)
        maps = functional.max_pool2d(self.norm(functional.relu(self.conv2(maps))), 3, 2)
        maps = functional.relu(self.conv3(maps))
        maps = functional.relu(self.conv4(maps))
        maps = functional.max_pool2d(functional.relu(self.conv5(maps)), 3, 2)
        hidden = self.dropout(functional.relu(self.fc6(maps.flatten(1))))
        hidden = self.dropout(functional.relu(self.fc7(hidden)))
        logits: Tensor = self.fc8(hidden)
        return logits
