"""Replaces convolutions by clustered ones: filters that share colours, blocks of channels of few ranks, or few terms.

Survey [34]: E. Denton, W. Zaremba, J. Bruna, Y. LeCun, R. Fergus 2014 (NIPS, "Exploiting linear structure within
convolutional networks for efficient evaluation"), sections 3.2 and 3.3. Notation: c inputs, n outputs, k x k places.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.errors import ConfigError
from featherweight.graph.layers import ChannelSelect
from featherweight.numerics.factor import Bicluster, Monochrome, bicluster, cp, monochromatic
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
from featherweight.techniques.representation.low_rank._replace import replace
from featherweight.techniques.representation.low_rank._settings import ByWeights


@dataclass(frozen=True, kw_only=True)
class Denton(ByWeights):
    """Replaces convolutions by clustered ones, from shallow to deep. Survey [34], Denton et al. 2014.

    Layers of few inputs become monochromatic: mixtures of the inputs, of which each filter reads one. Others become
    blocks between clusters of inputs and of outputs, each block of few ranks, or a sum of outer products. All layers
    keep the same share of their cost. After each layer all up to it is frozen and the rest trained on, as in the paper.
    Filters come back into their order, so that the next layer stays as it is.
    """

    survey: ClassVar[str] = "[34] Denton et al. 2014, Exploiting Linear Structure Within Convolutional Networks"
    applies_to: ClassVar[tuple[str, ...]] = ("conv",)
    kinds: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    of: Literal["macs", "parameters", "ratio"] = "macs"  # what `keep` is a share of; "ratio": of each layer's ranks
    form: Literal["blocks", "terms"] = "blocks"  # of layers with more than `colours` inputs
    colours: int = 4  # layers of at most so many inputs become monochromatic, 0 or more
    clusters: tuple[int, int] = (2, 2)  # of inputs and of outputs, each 1 or more; the next divisor below is taken
    starts: int = 4  # of clustering, or of the least squares for terms, 1 or more

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("macs", "parameters", "ratio"):
            raise ConfigError("cannot be told before clustering", where="of", value=self.of, fix="Use 'macs'.")
        if min(*self.clusters, self.starts) < 1 or self.colours < 0:
            value = {"clusters": self.clusters, "starts": self.starts, "colours": self.colours}
            raise ConfigError("out of range", where="clusters, starts or colours", value=value, fix="Use 1 or more.")

    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """The kernel, unless it is grouped or has one place only. Its rank is the number of colours or terms, or the
        larger rank of a block, whose smaller one is in proportion.
        """
        conv = cast(Convolution, layer.module)
        if conv.groups > 1 or conv.weight[0, 0].numel() == 1:
            return []
        places = Places.of(layer.inputs, layer.outputs, len(conv.kernel_size), measure)
        outputs, inputs, window = *conv.weight.shape[:2], conv.weight[0, 0].numel()
        if self._coloured(conv):
            full, cost = outputs, partial(_cost_of_colours, conv, places)
        elif self.form == "terms":
            full = conv.weight.numel() // max(outputs, inputs, window)
            cost = partial(_cost_of_terms, conv, places)
        else:
            groups = self._groups(conv)
            full, cost = max(_block(conv, groups)), partial(_cost_of_blocks, conv, places, groups)
        return [
            Part(
                full=(full,),
                whole=float(conv.weight.numel() * places.last),
                cost=lambda ranks: cost(ranks[0]),
                ladder=None,
                automatic=lambda: (full,),
            )
        ]

    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """The chain of grouped convolutions, with the channels' order before, between and behind them."""
        conv = cast(Convolution, layer.module)
        (rank,) = ranks[0] or (1,)
        kernel, generator = conv.weight.detach(), context.generator("clusters", layer.path)
        if self._coloured(conv):
            colours = _divisor(len(kernel), rank)
            return coloured(conv, monochromatic(kernel, colours, generator, self.starts))
        if self.form == "terms":
            outer, inner, shape = cp(kernel.flatten(2), rank, generator, starts=self.starts).factors
            return _terms(conv, outer, inner, shape)
        groups = self._groups(conv)
        return blocks(conv, bicluster(kernel, groups, _ranks(conv, groups, rank), generator, self.starts))

    def put(self, model: nn.Module, modules: Mapping[str, nn.Module], context: Context) -> nn.Module:
        """One layer after the other; what the model registers up to it is frozen while the rest trains on."""
        free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        rate = self.learning_rate * context.training.learning_rate
        for path, module in modules.items():
            replace(model, {path: module}, context)
            free |= {f"{path}.{name}" for name, parameter in module.named_parameters() if parameter.requires_grad}
            behind = _freeze(model, path)
            if self.epochs > 0 and behind:
                context.finetune(model, Finetuning(epochs=self.epochs / len(modules), learning_rate=rate))
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in free)
        return model

    def _coloured(self, conv: Convolution) -> bool:
        return conv.in_channels <= self.colours

    def _groups(self, conv: Convolution) -> tuple[int, int]:
        return _divisor(conv.in_channels, self.clusters[0]), _divisor(conv.out_channels, self.clusters[1])


def coloured(conv: Convolution, found: Monochrome) -> nn.Module:
    """Mixtures of the inputs, then filters that read one each, then the filters in their order."""
    count = len(conv.kernel_size)
    axes = range(count)
    mix = convolution(conv, found.colours.reshape(*found.colours.shape, *(1,) * count))
    order = torch.argsort(found.order)
    bias = None if conv.bias is None else conv.bias.detach()[found.order]
    shapes = convolution(conv, found.shapes.unsqueeze(1), axes, groups=len(found.colours), bias=bias)
    return chain([mix, shapes, ChannelSelect(order)], conv)


def blocks(conv: Convolution, found: Bicluster) -> nn.Module:
    """Inputs by clusters; each cluster's projections for every cluster of outputs; the cores; back, and in order."""
    count = len(conv.kernel_size)
    ones, axes = (1,) * count, range(count)
    columns, width = found.blocks, len(found.blocks[0])
    into = torch.cat([block.inputs.T for column in columns for block in column])
    core = torch.cat([block.core for column in columns for block in column])
    back = torch.cat([torch.cat([column[row].outputs for column in columns], dim=1) for row in range(width)])
    ranks = columns[0][0].core.shape[0]
    # the cores come by cluster of inputs, and are read by cluster of outputs
    swap = torch.arange(len(core)).reshape(len(columns), width, ranks).transpose(0, 1).flatten()
    bias = None if conv.bias is None else conv.bias.detach()[found.outputs]
    layers = [
        ChannelSelect(found.inputs),
        convolution(conv, into.reshape(*into.shape, *ones), groups=len(columns)),
        convolution(conv, core, axes, groups=len(columns) * width),
        ChannelSelect(swap.to(core.device)),
        convolution(conv, back.reshape(*back.shape, *ones), groups=width, bias=bias),
        ChannelSelect(torch.argsort(found.outputs)),
    ]
    return chain(layers, conv)


def _terms(conv: Convolution, outer: Tensor, inner: Tensor, shape: Tensor) -> nn.Module:
    """To the terms, each by itself over the places, and back."""
    rank, count = outer.shape[1], len(conv.kernel_size)
    ones = (1,) * count
    into = convolution(conv, inner.T.reshape(rank, -1, *ones))
    each = convolution(conv, shape.T.reshape(rank, 1, *conv.kernel_size), range(count), groups=rank)
    return chain([into, each, convolution(conv, outer.reshape(-1, rank, *ones), bias=conv.bias)], conv)


def _cost_of_colours(conv: Convolution, places: Places, rank: int) -> float:
    outputs, inputs, window = *conv.weight.shape[:2], conv.weight[0, 0].numel()
    return float(inputs * _divisor(outputs, rank) * places.first + window * outputs * places.last)


def _cost_of_terms(conv: Convolution, places: Places, rank: int) -> float:
    outputs, inputs, window = *conv.weight.shape[:2], conv.weight[0, 0].numel()
    return float(rank * (inputs * places.first + (window + outputs) * places.last))


def _cost_of_blocks(conv: Convolution, places: Places, groups: tuple[int, int], rank: int) -> float:
    outputs, inputs, window = *conv.weight.shape[:2], conv.weight[0, 0].numel()
    outer, inner = _ranks(conv, groups, rank)
    core = math.prod(groups) * window * inner * outer * places.last
    return float(inputs * groups[1] * inner * places.first + core + outputs * groups[0] * outer * places.last)


def _block(conv: Convolution, groups: tuple[int, int]) -> tuple[int, int]:
    """Outputs and inputs of a block."""
    return conv.out_channels // groups[1], conv.in_channels // groups[0]


def _ranks(conv: Convolution, groups: tuple[int, int], rank: int) -> tuple[int, int]:
    """Ranks of a block (outputs', inputs') when the larger side has `rank`."""
    sizes = _block(conv, groups)
    outer, inner = (max(1, round(rank * size / max(sizes))) for size in sizes)
    return outer, inner


def _divisor(count: int, most: int) -> int:
    """The largest divisor of `count` that is at most `most`."""
    return next(number for number in range(min(count, most), 0, -1) if count % number == 0)


def _freeze(model: nn.Module, path: str) -> bool:
    """Freezes what is registered up to the layer at `path`; whether anything behind it is left to train."""
    names = [name for name, _ in model.named_parameters()]
    last = max(number for number, name in enumerate(names) if name.startswith(f"{path}."))
    for number, parameter in enumerate(model.parameters()):
        if number <= last:
            parameter.requires_grad_(False)
    return any(parameter.requires_grad for parameter in model.parameters())
