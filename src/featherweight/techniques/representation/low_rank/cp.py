"""Replaces a convolution by a chain of thin ones: to R mixtures, along each axis alone, and back (CP).

V. Lebedev et al. 2015 (ICLR, "Speeding-up convolutional neural networks using fine-tuned CP-decomposition"). A kernel
(n, c, a, b) of R terms becomes 1x1 (c to R), a x 1 and 1 x b of each mixture alone, and 1x1 (R to n, with the bias):
R (c + a + b + n) weights for n c a b.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError
from featherweight.numerics.factor import cp, evbmf
from featherweight.techniques.representation.low_rank._find import Layer
from featherweight.techniques.representation.low_rank._parts import (
    CONVOLUTIONS,
    Convolution,
    Measure,
    Part,
    Places,
    Ranks,
    chain,
    convolution,
)
from featherweight.techniques.representation.low_rank._settings import ByWeights


@dataclass(frozen=True, kw_only=True)
class Cp(ByWeights):
    """Replaces a convolution by a chain of thin ones, each along one axis. Lebedev et al. 2015.

    Every layer keeps the same share of its cost: how good a rank is shows only when it has been fitted. The strides and
    paddings of an axis stand in the layer of that axis. Deep networks need fine-tuning afterwards.
    """

    survey: ClassVar[str] = "Lebedev et al. 2015, Speeding-up CNNs Using Fine-tuned CP-Decomposition"
    applies_to: ClassVar[tuple[str, ...]] = ("conv",)
    kinds: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    of: Literal["macs", "parameters", "automatic"] = "macs"  # what `keep` is a share of; "automatic": see tucker
    starts: int = 3  # of the least squares, 1 or more; the best is taken
    sweeps: int = 200  # of each start, 1 or more

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("macs", "parameters", "automatic"):
            raise ConfigError("cannot be told before a fit", where="of", value=self.of, fix="Use 'macs'.")
        for name in ("starts", "sweeps"):
            if getattr(self, name) < 1:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use 1 or more.")

    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """The kernel, unless it is grouped or has one place only."""
        conv = cast(Convolution, layer.module)
        if conv.groups > 1 or conv.weight[0, 0].numel() == 1:
            return []
        return [_part(conv, Places.of(layer.inputs, layer.outputs, len(conv.kernel_size), measure))]

    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """The chain of convolutions."""
        conv = cast(Convolution, layer.module)
        (rank,) = ranks[0] or (1,)
        generator = context.generator("cp", layer.path)
        outer, inner, *along = cp(conv.weight, rank, generator, starts=self.starts, sweeps=self.sweeps).factors
        return _thin(conv, outer, inner, along)


def _thin(conv: Convolution, outer: Tensor, inner: Tensor, along: list[Tensor]) -> nn.Module:
    rank, ones = outer.shape[1], (1,) * len(along)
    layers = [convolution(conv, inner.T.reshape(rank, -1, *ones))]
    for axis, factor in enumerate(along):
        if _acts(conv, axis):
            shape = tuple(-1 if other == axis else 1 for other in range(len(along)))
            layers.append(convolution(conv, factor.T.reshape(rank, 1, *shape), (axis,), groups=rank))
        else:
            layers[0] = _scaled(layers[0], factor[0])
    return chain([*layers, convolution(conv, outer.reshape(-1, rank, *ones), bias=conv.bias)], conv)


def _acts(conv: Convolution, axis: int) -> bool:
    padded = not isinstance(conv.padding, str) and conv.padding[axis] > 0
    return conv.kernel_size[axis] > 1 or conv.stride[axis] > 1 or padded


def _scaled(layer: nn.Module, by: Tensor) -> nn.Module:
    """The layer before an axis of one place, which does nothing but scale the mixtures."""
    weight = layer.get_parameter("weight")
    with torch.no_grad():
        weight.mul_(by.to(weight).reshape(-1, *(1,) * (weight.dim() - 1)))
    return layer


def _part(conv: Convolution, places: Places) -> Part:
    outputs, inputs, *window = conv.weight.shape
    unit = float(inputs * places.first + outputs * places.last)
    unit += sum(size * places.when(axis + 1) for axis, size in enumerate(window) if _acts(conv, axis))
    whole = float(conv.weight.numel() * places.last)
    full = conv.weight.numel() // max(outputs, inputs, *window)  # as many terms always suffice

    kernel = conv.weight.detach()
    return Part(
        full=(full,),
        whole=whole,
        cost=lambda ranks: unit * ranks[0],
        ladder=None,
        automatic=lambda: (max(1, evbmf(kernel.flatten(1))[0], evbmf(kernel.transpose(0, 1).flatten(1))[0]),),
    )
