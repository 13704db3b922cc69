"""Replaces a convolution by a narrow one between two of one place each (Tucker-2).

Survey [33] (DeepMon); Y.-D. Kim et al. 2016 (ICLR, "Compression of deep convolutional neural networks for fast and low
power mobile applications"). A kernel (n, c, k, k) with ranks (R_o, R_i) becomes 1x1 (c to R_i), k x k (R_i to R_o, with
stride, padding and dilation) and 1x1 (R_o to n, with the bias): c R_i + k^2 R_i R_o + n R_o weights for n c k^2.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.numerics.factor import Tucker as Factors
from featherweight.numerics.factor import evbmf, spectra, tucker, tucker_ladder
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
class Tucker(ByWeights):
    """Replaces a convolution by a narrow one between two of one place each. Survey [33], Kim et al. 2016.

    By default the ranks are found by variational Bayes (EVBMF) on both unfoldings of the kernel, and `keep` is the
    least share of ranks: the paper's way, to be followed by fine-tuning.
    """

    survey: ClassVar[str] = "[33] DeepMon; Kim et al. 2016, Compression of Deep CNNs for Fast and Low Power Mobile"
    applies_to: ClassVar[tuple[str, ...]] = ("conv",)
    kinds: ClassVar[tuple[type[nn.Module], ...]] = CONVOLUTIONS

    keep: float = 0.1  # how much is kept, 0 < keep <= 1; of what, `of` says
    # the network's multiply-adds or parameters; each layer's ratio of ranks, or energy; "automatic": at least that
    # ratio of ranks, and all that stand out of the noise
    of: Literal["macs", "parameters", "ratio", "energy", "automatic"] = "automatic"  # what `keep` is a share of
    sweeps: int = 25  # of orthogonal iteration, 0 or more; 0 takes the higher-order SVD as it is

    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """The kernel, unless it is grouped or has one place only (then svd is the same with fewer weights)."""
        conv = cast(Convolution, layer.module)
        if conv.groups > 1 or conv.weight[0, 0].numel() == 1:
            return []
        return [_part(conv, Places.of(layer.inputs, layer.outputs, len(conv.kernel_size), measure))]

    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """The chain of three convolutions."""
        conv = cast(Convolution, layer.module)
        outer, inner = ranks[0] or conv.weight.shape[:2]
        return three(conv, tucker(conv.weight.detach(), (outer, inner), self.sweeps))


def three(conv: Convolution, factors: Factors) -> nn.Module:
    """1x1, core, 1x1: the chain for a factored kernel."""
    places = (1,) * len(conv.kernel_size)
    axes = range(len(places))
    first = factors.inputs.T.reshape(*factors.inputs.T.shape, *places)
    last = factors.outputs.reshape(*factors.outputs.shape, *places)
    layers = (convolution(conv, first), convolution(conv, factors.core, axes))
    return chain([*layers, convolution(conv, last, bias=conv.bias)], conv)


def _part(conv: Convolution, places: Places) -> Part:
    outputs, inputs = conv.weight.shape[:2]
    window = conv.weight[0, 0].numel()
    units = (float(outputs * places.last), float(inputs * places.first), float(window * places.last))
    whole = float(outputs * inputs * window * places.last)

    def cost(ranks: Ranks) -> float:
        outer, inner = ranks
        return units[0] * outer + units[1] * inner + units[2] * outer * inner

    return Part(
        full=(outputs, inputs),
        whole=whole,
        cost=cost,
        ladder=lambda multiple: tucker_ladder(spectra(conv.weight), units, whole, multiple),
        automatic=lambda: _automatic(conv.weight.detach()),
    )


def _automatic(kernel: Tensor) -> Ranks:
    return max(1, evbmf(kernel.flatten(1))[0]), max(1, evbmf(kernel.transpose(0, 1).flatten(1))[0])
