"""The residual networks for CIFAR-10 of He et al. 2016, section 4.2: 6n + 2 layers, shortcuts of option A.

Three stages of n blocks with 16, 32 and 64 channels; where the shape changes, the shortcut takes every second pixel
and fills new channels with zeros, so it has no parameters. Inputs (batch, 3, 32, 32), outputs logits (batch, classes).
With 10 classes ResNet-20 has 269,722 parameters.
"""

from torch import Tensor, nn
from torch.nn import functional

from featherweight.errors import UsageError


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, and the input added: (batch, in, h, w) to (batch, out, h/s, w/s)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self._stride, self._new_channels = stride, channels_out - channels_in

    def forward(self, maps: Tensor) -> Tensor:
        """The block's output maps."""
        inner = functional.relu(self.bn1(self.conv1(maps)))
        inner = self.bn2(self.conv2(inner))
        return functional.relu(inner + self._shortcut(maps))

    def _shortcut(self, maps: Tensor) -> Tensor:
        if self._stride == 1 and self._new_channels == 0:
            return maps
        before = self._new_channels // 2
        smaller = maps[:, :, :: self._stride, :: self._stride]
        return functional.pad(smaller, (0, 0, 0, 0, before, self._new_channels - before))


class ResNetCifar(nn.Module):
    """The network of 6n + 2 layers: `depth` 20, 32, 44, 56, 110, ...

    Raises: UsageError for a depth that is not 6n + 2 with n >= 1.
    """

    def __init__(self, depth: int = 20, classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UsageError("the depth must be 6n + 2", where="ResNetCifar", value=depth, fix="Take 20, 32, 44 or 56.")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        maps = functional.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.linear(maps.mean((2, 3)))
        return logits


def resnet20(classes: int = 10) -> ResNetCifar:
    """ResNet-20: 269,722 parameters with 10 classes."""
    return ResNetCifar(20, classes)


def resnet32(classes: int = 10) -> ResNetCifar:
    """ResNet-32: 464,154 parameters with 10 classes."""
    return ResNetCifar(32, classes)


def resnet44(classes: int = 10) -> ResNetCifar:
    """ResNet-44: 658,586 parameters with 10 classes."""
    return ResNetCifar(44, classes)


def resnet56(classes: int = 10) -> ResNetCifar:
    """ResNet-56: 853,018 parameters with 10 classes."""
    return ResNetCifar(56, classes)


def _stage(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(channels_in, channels_out, stride)
    return nn.Sequential(first, *(Block(channels_out, channels_out, 1) for _ in range(blocks - 1)))
