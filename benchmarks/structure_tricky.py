"""Small hand-written networks whose wiring has broken structured pruning before: for structure_zoo.py.

Each says in its docstring what is odd. Convolutional ones take images (batch, 3, 32, 32), attention takes sequences
(batch, 12, 64), and all answer with logits of 10 classes unless they say otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from structure_attention import CLASSES, WIDTH, FusedAttention, GroupedAttention, TorchAttention, Transformer


@dataclass(frozen=True)
class Tricky:
    """A network, its inputs and the layers whose outputs are the network's."""

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], tuple[Any, ...]]
    keep: tuple[str, ...] = ("head",)


def image() -> tuple[Any, ...]:
    return (torch.randn(2, 3, 32, 32),)


def sequence() -> tuple[Any, ...]:
    return (torch.randn(2, 12, WIDTH),)


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Headed(nn.Module):
    """`body` and a linear classifier on the mean of its maps."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(maps).mean((2, 3)))
        return logits


class Dense(nn.Module):
    """DenseNet's block: each layer reads the concatenation of all before, through a norm of that width."""

    def __init__(self, inputs: int, growth: int = 32, layers: int = 3) -> None:
        super().__init__()
        widths = [inputs + growth * index for index in range(layers)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.layers = nn.ModuleList(nn.Conv2d(width, growth, 3, padding=1, bias=False) for width in widths)

    def forward(self, maps: Tensor) -> Tensor:
        found = [maps]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            found.append(layer(functional.relu(norm(torch.cat(found, 1)))))
        return torch.cat(found, 1)


def densenet() -> nn.Module:
    body = nn.Sequential(conv(3, 32), Dense(32), conv(128, 64, 1), nn.AvgPool2d(2), Dense(64), nn.BatchNorm2d(160))
    return Headed(body, 160)


def shuffled(maps: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = maps.shape
    maps = maps.view(batch, groups, channels // groups, height, width)
    return maps.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleV1(nn.Module):
    """ShuffleNet's unit: grouped 1x1 convolutions with a channel shuffle between; a stride concatenates the pool."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 4) -> None:
        super().__init__()
        self.groups, self.stride = groups, stride
        grown = outputs - inputs if stride == 2 else outputs
        self.first = conv(inputs, 32, 1, groups=groups)
        self.depth = nn.Sequential(nn.Conv2d(32, 32, 3, stride, 1, groups=32, bias=False), nn.BatchNorm2d(32))
        self.last = nn.Sequential(nn.Conv2d(32, grown, 1, groups=groups, bias=False), nn.BatchNorm2d(grown))

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.last(self.depth(shuffled(self.first(maps), self.groups)))
        if self.stride == 1:
            return functional.relu(maps + inner)
        return functional.relu(torch.cat([functional.avg_pool2d(maps, 3, 2, 1), inner], 1))


class ShuffleV2(nn.Module):
    """ShuffleNet V2's unit: half of the channels go around, then both halves are shuffled together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        depth = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.branch = nn.Sequential(conv(half, half, 1), depth, nn.BatchNorm2d(half), conv(half, half, 1))

    def forward(self, maps: Tensor) -> Tensor:
        left, right = maps.chunk(2, dim=1)
        return shuffled(torch.cat([left, self.branch(right)], 1), 2)


def shufflenet_v1() -> nn.Module:
    return Headed(nn.Sequential(conv(3, 32), ShuffleV1(32, 64, 2), ShuffleV1(64, 64, 1), ShuffleV1(64, 128, 2)), 128)


def shufflenet_v2() -> nn.Module:
    return Headed(nn.Sequential(conv(3, 64, stride=2), ShuffleV2(64), ShuffleV2(64), conv(64, 96, 1)), 96)


class MaxVit(nn.Module):
    """MaxViT's block: inverted bottleneck with squeeze-and-excitation, attention in windows, attention on a grid."""

    def __init__(self, width: int = WIDTH, window: int = 4) -> None:
        super().__init__()
        self.window = window
        depth = nn.Conv2d(128, 128, 3, padding=1, groups=128, bias=False)
        self.bottleneck = nn.Sequential(conv(width, 128, 1), depth, nn.BatchNorm2d(128), Squeeze(128))
        self.project = nn.Conv2d(128, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attentions = nn.ModuleList(FusedAttention(width) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.project(self.bottleneck(maps))
        batch, width, height, across = maps.shape
        side = self.window
        tiles = maps.view(batch, width, height // side, side, across // side, side)
        for order, norm, attention in zip(("window", "grid"), self.norms, self.attentions, strict=True):
            axes = (0, 2, 4, 3, 5, 1) if order == "window" else (0, 3, 5, 2, 4, 1)
            back = (0, 5, 1, 3, 2, 4) if order == "window" else (0, 5, 3, 1, 4, 2)
            moved = tiles.permute(axes)
            steps = moved.reshape(-1, moved.shape[3] * moved.shape[4], width)
            steps = steps + attention(norm(steps))
            tiles = steps.view(moved.shape).permute(back)
        return tiles.reshape(batch, width, height, across)


class Squeeze(nn.Module):
    """Squeeze-and-excitation: channels are scaled by what two 1x1 convolutions make of their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        scale = self.up(functional.relu(self.down(functional.adaptive_avg_pool2d(maps, 1))))
        return maps * scale.sigmoid()


class Inception(nn.Module):
    """Four branches of unlike widths, concatenated."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = conv(inputs, 32, 1)
        self.three = nn.Sequential(conv(inputs, 32, 1), conv(32, 48))
        self.five = nn.Sequential(conv(inputs, 16, 1), conv(16, 32, 5))
        self.pool = conv(inputs, 32, 1)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = self.pool(functional.max_pool2d(maps, 3, 1, 1))
        return torch.cat([self.one(maps), self.three(maps), self.five(maps), pooled], 1)


class UNet(nn.Module):
    """Skips by concatenation around transposed convolutions; answers with a map (batch, 10, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.deep = conv(3, 32), conv(32, 64), conv(64, 96)
        self.up_two, self.up_one = nn.ConvTranspose2d(96, 64, 2, 2), nn.ConvTranspose2d(64, 32, 2, 2)
        self.join_two, self.join_one = conv(128, 64), conv(64, 32)
        self.head = nn.Conv2d(32, CLASSES, 1)

    def forward(self, maps: Tensor) -> Tensor:
        first = self.first(maps)
        second = self.second(functional.max_pool2d(first, 2))
        deep = self.deep(functional.max_pool2d(second, 2))
        second = self.join_two(torch.cat([second, self.up_two(deep)], 1))
        found: Tensor = self.head(self.join_one(torch.cat([first, self.up_one(second)], 1)))
        return found


class ResNext(nn.Module):
    """A bottleneck whose middle convolution has 4 groups of 16 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(conv(width, 64, 1), conv(64, 64, groups=4), conv(64, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.inner(maps)


class PixelShuffle(nn.Module):
    """Super-resolution: PReLU with a slope for each channel, pixel shuffle inside and at the end; answers a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope = nn.Conv2d(3, 64, 3, padding=1), nn.PReLU(64)
        self.grow, self.shuffle = nn.Conv2d(64, 128, 3, padding=1), nn.PixelShuffle(2)
        self.last, self.head = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 12, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        grown = self.shuffle(self.grow(self.slope(self.first(maps))))
        found: Tensor = self.shuffle(self.head(functional.relu(self.last(grown))))
        return found


class Recurrent(nn.Module):
    """A recurrent classifier; the options are those of nn.LSTM or nn.GRU."""

    def __init__(self, layer: type[nn.LSTM] | type[nn.GRU], **options: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, 48)
        self.layer = layer(48, 64, batch_first=True, **options)
        width = options.get("proj_size") or 64
        self.head = nn.Linear(width * (2 if options.get("bidirectional") else 1), CLASSES)

    def forward(self, steps: Tensor) -> Tensor:
        found, _ = self.layer(self.embed(steps).tanh())
        logits: Tensor = self.head(found[:, -1])
        return logits


class Tied(nn.Module):
    """An autoencoder whose decoder uses the encoder's matrix; answers with what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.narrow = nn.Linear(WIDTH, 96), nn.Linear(96, 48)
        self.widen_bias = nn.Parameter(torch.randn(96))

    def forward(self, steps: Tensor) -> Tensor:
        code = self.narrow(functional.relu(self.encode(steps)))
        wide = functional.relu(functional.linear(code, self.narrow.weight.t(), self.widen_bias))
        return functional.linear(wide, self.encode.weight.t())


class Reused(nn.Module):
    """One convolution and its norm used three times, and one head used on two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = conv(3, 48), conv(48, 48)
        self.left, self.right = conv(48, 64, 1), conv(48, 64, 1)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.first(maps)
        for _ in range(3):
            maps = maps + self.again(maps)
        return self.head(self.left(maps).mean((2, 3))), self.head(self.right(maps).mean((2, 3)))


class Dictionary(nn.Module):
    """Two tasks, answered in nested dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 32), conv(32, 64, stride=2))
        self.classes, self.boxes = nn.Linear(64, CLASSES), nn.Conv2d(64, 4, 1)

    def forward(self, maps: Tensor) -> dict[str, Any]:
        maps = self.body(maps)
        return {"logits": self.classes(maps.mean((2, 3))), "found": {"boxes": [self.boxes(maps)]}}


class TwoInputs(nn.Module):
    """An image and a vector that modulates its channels (FiLM), then joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.film = conv(3, 48), nn.Linear(16, 96)
        self.more, self.side = conv(48, 64), nn.Linear(16, 32)
        self.head = nn.Linear(96, CLASSES)

    def forward(self, maps: Tensor, vector: Tensor) -> Tensor:
        scale, shift = self.film(vector)[:, :, None, None].split(48, dim=1)
        maps = self.more(self.body(maps) * (1 + scale) + shift)
        logits: Tensor = self.head(torch.cat([maps.mean((2, 3)), functional.relu(self.side(vector))], 1))
        return logits


class Mixed(nn.Module):
    """Group and instance norm, 1-d and 3-d convolutions, a slice, a stack and a flatten before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.group = nn.Conv2d(3, 48, 3, 2, 1), nn.GroupNorm(6, 48)
        self.instance = nn.InstanceNorm2d(32, affine=True)
        self.deep, self.line = nn.Conv3d(32, 32, (2, 3, 3), padding=(0, 1, 1)), nn.Conv1d(32, 40, 3, 4, 1)
        self.head = nn.Linear(40 * 64, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        maps = functional.relu(self.group(self.first(maps)))[:, 8:40]
        maps = self.deep(torch.stack([maps, self.instance(maps)], 2)).squeeze(2)
        logits: Tensor = self.head(self.line(functional.silu(maps).flatten(2)).flatten(1))
        return logits


ALL = (
    Tricky("densenet", densenet, image),
    Tricky("shufflenet-v1", shufflenet_v1, image),
    Tricky("shufflenet-v2", shufflenet_v2, image),
    Tricky("maxvit", lambda: Headed(nn.Sequential(conv(3, WIDTH, stride=4), MaxVit(), MaxVit()), WIDTH), image),
    Tricky("inception", lambda: Headed(nn.Sequential(conv(3, 32), Inception(32), Inception(144)), 144), image),
    Tricky("unet", UNet, image),
    Tricky("resnext", lambda: Headed(nn.Sequential(conv(3, 64), ResNext(64), ResNext(64)), 64), image),
    Tricky("squeeze", lambda: Headed(nn.Sequential(conv(3, 64), Squeeze(64), conv(64, 64), Squeeze(64)), 64), image),
    Tricky("pixel-shuffle-prelu", PixelShuffle, image),
    Tricky("lstm-bidirectional", lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), sequence),
    Tricky("lstm-projected", lambda: Recurrent(nn.LSTM, bidirectional=True, proj_size=32), sequence),
    Tricky("gru", lambda: Recurrent(nn.GRU, num_layers=2), sequence),
    Tricky("gru-bidirectional", lambda: Recurrent(nn.GRU, bidirectional=True), sequence),
    Tricky("fused-qkv", lambda: Transformer(FusedAttention), sequence),
    Tricky("grouped-query", lambda: Transformer(GroupedAttention, nn.RMSNorm), sequence),
    Tricky("multihead-attention", lambda: Transformer(TorchAttention), sequence),
    Tricky("tied-autoencoder", Tied, sequence, ()),
    Tricky("reused", Reused, image),
    Tricky("dictionary", Dictionary, image, ("classes", "boxes")),
    Tricky("two-inputs", TwoInputs, lambda: (*image(), torch.randn(2, 16))),
    Tricky("mixed", Mixed, image),
)
