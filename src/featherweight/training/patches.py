"""What single output positions of a convolution or linear layer read of its input.

Notation: c input channels, a kernel of `taps` places (1 for linear), an output of n channels over a space of places
that are numbered row by row. Any stride, dilation, padding and padding mode; groups do not matter here.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = Convolution | nn.Linear


def patches(layer: Layer, value: Tensor, positions: Tensor) -> Tensor:
    """What output positions read: (rows, c, taps), rows = examples * k, zeros where they read padding of zeros.

    `value`: the layer's input, (examples, c, *space) or for a linear layer (examples, ..., c). `positions`: int64
    (examples, k), places of the output. For each row, the layer's output there is its bias plus
    patch.flatten() @ weight.flatten(1).T, for each group with the channels and outputs of the group.
    """
    if isinstance(layer, nn.Linear):
        return gathered(value.reshape(len(value), -1, value.shape[-1]), positions).flatten(0, 1).unsqueeze(2)
    padded = _padded(layer, value)
    space = padded.shape[2:]
    strides = [math.prod(space[axis + 1 :]) for axis in range(len(space))]
    corners, rest = torch.zeros_like(positions), positions
    for size, step, stride in zip(_outputs(layer, space)[::-1], layer.stride[::-1], strides[::-1], strict=True):
        corners = corners + rest % size * (step * stride)
        rest = rest // size
    offsets = [range(0, d * k * s, d * s) for d, k, s in zip(layer.dilation, layer.kernel_size, strides, strict=True)]
    reads = torch.tensor([sum(place) for place in itertools.product(*offsets)], device=positions.device)
    places = (corners[:, :, None] + reads).flatten(1)  # (examples, k * taps)
    found = padded.flatten(2).gather(2, places[:, None].expand(-1, padded.shape[1], -1))
    return found.view(*found.shape[:2], -1, len(reads)).transpose(1, 2).flatten(0, 1)


def output_space(layer: Layer, value: Tensor) -> tuple[int, ...]:
    """The shape of the layer's output for this input, without its channels: examples first."""
    if isinstance(layer, nn.Linear):
        return tuple(value.shape[:-1])
    sizes = [size + sum(pair) for size, pair in zip(value.shape[2:], _padding(layer), strict=True)]
    return (len(value), *_outputs(layer, sizes))


def gathered(flat: Tensor, positions: Tensor) -> Tensor:
    """The places (examples, k) of a tensor (examples, places, channels)."""
    return flat.gather(1, positions[:, :, None].expand(-1, -1, flat.shape[2]))


def _outputs(layer: Convolution, padded: list[int] | torch.Size) -> list[int]:
    reach = (d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return [(size - r) // s + 1 for size, r, s in zip(padded, reach, layer.stride, strict=True)]


def _padding(layer: Convolution) -> list[tuple[int, int]]:
    """How much goes before and after each axis of space."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if isinstance(layer.padding, str):  # "same": of an odd number more goes behind
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(size, size) for size in layer.padding]


def _padded(layer: Convolution, value: Tensor) -> Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    sizes = [size for pair in reversed(_padding(layer)) for size in pair]
    return functional.pad(value, sizes, mode) if any(sizes) else value
