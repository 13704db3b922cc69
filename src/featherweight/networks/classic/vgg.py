"""The VGG networks (Simonyan and Zisserman 2015, table 1), of any input size and width, and the CIFAR form of
network slimming (Liu et al. 2017; survey [4]).

Inputs (batch, 3, size, size) with `size` a multiple of 32, outputs logits (batch, classes). VGG-16 for ImageNet has
138,357,544 parameters, of which the 13 kernels of its convolutions are 14,710,464.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from featherweight.errors import UsageError

_CONVOLUTIONS: Final = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS: Final = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a VGG network."""

    size: int = 224  # of the square input in pixels, a multiple of 32
    classes: int = 1000
    width: float = 1.0  # all channels are multiplied by this
    batch_norm: bool = False  # after each convolution
    conv_bias: bool = True
    hidden: int | None = 4096  # units of the two hidden layers (times width); None: one linear layer only
    pools: int = 5  # stages that end in max pooling, 4 or 5; with 4 an average over all that is left follows


class VGG(nn.Module):
    """A VGG network of `depth` 11, 13, 16 or 19 layers.

    `features` holds the convolutions, `classifier` the linear layers. Dropout (0.5) stands between hidden layers.

    Raises: UsageError for another depth, or a size that is no multiple of 32.
    """

    def __init__(self, depth: int = 16, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        if depth not in _CONVOLUTIONS:
            raise UsageError("there is no VGG of this depth", value=depth, fix="Take 11, 13, 16 or 19.")
        if shape.size < 32 or shape.size % 32:
            raise UsageError("the input size must be a multiple of 32", where="VGG", value=shape.size)
        channels = [max(1, round(count * shape.width)) for count in _CHANNELS]
        self.features = nn.Sequential(*_features(_CONVOLUTIONS[depth], channels, shape))
        side = shape.size // 32 if shape.pools == 5 else 1
        self.classifier = _classifier(channels[-1] * side * side, shape)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, size, size)."""
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def vgg_cifar(depth: int = 19, classes: int = 10) -> VGG:
    """The CIFAR form: batch norm, no bias in convolutions, four max pools, one average, one linear layer.

    VGG-19 has 20,035,018 parameters with 10 classes, VGG-16 14,724,042.
    """
    return VGG(depth, Shape(size=32, classes=classes, batch_norm=True, conv_bias=False, hidden=None, pools=4))


def _features(convolutions: tuple[int, ...], channels: list[int], shape: Shape) -> list[nn.Module]:
    layers: list[nn.Module] = []
    before = 3
    for stage, (count, width) in enumerate(zip(convolutions, channels, strict=True)):
        for _ in range(count):
            layers.append(nn.Conv2d(before, width, 3, padding=1, bias=shape.conv_bias))
            if shape.batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            before = width
        if stage < shape.pools:
            layers.append(nn.MaxPool2d(2))
    if shape.pools < len(channels):
        layers.append(nn.AvgPool2d(shape.size // 2**shape.pools))
    return layers


def _classifier(inputs: int, shape: Shape) -> nn.Module:
    if shape.hidden is None:
        return nn.Linear(inputs, shape.classes)
    hidden = max(1, round(shape.hidden * shape.width))
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, shape.classes),
    )
