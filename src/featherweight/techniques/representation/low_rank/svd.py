"""Replaces a layer by two thin ones: its matrix is cut to its largest singular values.

Survey [45]: J. Chauhan et al. 2018 (IEEE Computer, "Breathing-based authentication on resource-constrained IoT devices
using recurrent neural networks"); survey [34]: E. Denton et al. 2014 (NIPS), sections 3.2 and 3.1.2. A matrix (m, n) of
rank k is k (m + n) weights in place of m n, and as many multiply-adds at each place: it pays for k < m n / (m + n).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError
from featherweight.numerics.factor import of_spatial, spatial, svd, weighted_svd
from featherweight.techniques.representation.low_rank import _moments, _recurrent
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
    linear,
    matrix_part,
)
from featherweight.techniques.representation.low_rank._settings import ByWeights


@dataclass(frozen=True, kw_only=True)
class Svd(ByWeights):
    """Replaces a layer by two thin ones, its matrix cut to its largest singular values. Survey [45], [34].

    Linear layers become two; so do convolutions, by channel (k x k, then one place) or in the plane (k x 1, then
    1 x k). In LSTM and GRU the matrices of input and state are factored over all gates, apart or with a shared left
    factor. Bias and activation stay behind the second layer.
    """

    survey: ClassVar[str] = "[45] Chauhan et al. 2018, Breathing-based Authentication; [34] Denton et al. 2014"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent")
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (*CONVOLUTIONS, nn.Linear, *_recurrent.KINDS)

    form: Literal["channel", "spatial"] = "channel"  # of convolutions; "spatial" needs two axes, others go by channel
    # what is nearest: weights, or with "inputs" the outputs on the calibration data (linear layers and convolutions by
    distance: Literal["weights", "inputs"] = "weights"  # channel; LSTM and GRU always by weights)
    recurrent: Literal["apart", "shared"] = "apart"  # "shared": both matrices of an LSTM have one left factor
    examples: int = 256  # of calibration data for the distance of inputs, 1 or more

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.examples < 1:
            raise ConfigError("out of range", where="examples", value=self.examples, fix="Use 1 or more.")

    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """The matrix of the layer; two for each direction and layer of a recurrent one. None for grouped ones."""
        module = layer.module
        if isinstance(module, _recurrent.KINDS):
            return _recurrent.parts(module, layer.inputs, measure, shared=self.recurrent == "shared")
        if isinstance(module, nn.Linear):
            steps = 1 if measure == "parameters" else math.prod(layer.outputs) // module.out_features
            return [matrix_part(module.weight.detach(), sum(module.weight.shape) * steps, steps)]
        conv = cast(Convolution, module)
        if conv.groups > 1:
            return []
        places = Places.of(layer.inputs, layer.outputs, len(conv.kernel_size), measure)
        if self._in_the_plane(conv):
            matrix = of_spatial(conv.weight.detach())
            return [matrix_part(matrix, matrix.shape[0] * places.when(1) + matrix.shape[1] * places.last, places.last)]
        matrix = conv.weight.detach().flatten(1)
        return [matrix_part(matrix, sum(matrix.shape) * places.last, places.last)]

    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """Two layers, or the recurrent layer with thin matrices."""
        module = layer.module
        if isinstance(module, _recurrent.KINDS):
            return _recurrent.build(module, ranks, shared=self.recurrent == "shared")
        (rank,) = ranks[0] or (1,)
        if not isinstance(module, nn.Linear) and self._in_the_plane(cast(Convolution, module)):
            conv = cast(Convolution, module)
            columns, rows = spatial(conv.weight.detach(), rank)
            return chain([convolution(conv, columns, (0,)), convolution(conv, rows, (1,), bias=conv.bias)], conv)
        matrix = module.get_parameter("weight").detach().flatten(1)
        left, right = self._factors(layer, matrix, rank, context)
        if isinstance(module, nn.Linear):
            return chain([linear(module, right), linear(module, left, module.bias)], module)
        conv = cast(Convolution, module)
        axes = range(len(conv.kernel_size))
        first = convolution(conv, right.reshape(rank, *conv.weight.shape[1:]), axes)
        last = convolution(conv, left.reshape(*left.shape, *(1 for _ in axes)), bias=conv.bias)
        return chain([first, last], conv)

    def _in_the_plane(self, conv: Convolution) -> bool:
        return self.form == "spatial" and isinstance(conv, nn.Conv2d) and conv.weight[0, 0].numel() > 1

    def _factors(self, layer: Layer, matrix: Tensor, rank: int, context: Context) -> tuple[Tensor, Tensor]:
        if self.distance == "weights":
            return svd(matrix, rank)
        return weighted_svd(matrix, _moments.second_moment(layer, context, self.examples), rank)
