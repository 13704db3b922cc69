"""Linear layers as a dictionary and sparse codes, convolutions as a vertical and a horizontal one; no retraining.

S. Bhattacharya, N. Lane 2016 (SenSys, "Sparsification and separation of deep learning layers for constrained resource
inference on wearables"). Linear layer W (out, in): W is about B A with B (out, k) atoms and A (k, in) of at most K
values a column (K-SVD); y = B (A x) + b, A kept sparse. Convolution (out, in, d, d): (d, 1) to R channels, then (1, d),
by the singular vectors of the (in d) x (out d) matrix. The compiler goes through the layers, the largest first, and
takes the smallest k or R whose network keeps the score within the budget. Which shares are tried is our choice.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph import surgery
from featherweight.numerics.dictionary import ksvd
from featherweight.numerics.factor import spatial
from featherweight.techniques.base import Technique
from featherweight.training.evaluate import evaluating


@dataclass(frozen=True, kw_only=True)
class SparseSep(Technique):
    """Replaces linear layers by dictionary times sparse codes and convolutions by a vertical and a horizontal one."""

    strength: ClassVar[str | None] = "budget"
    survey: ClassVar[str] = "[31] Bhattacharya and Lane 2016, Sparsification and Separation of Deep Learning Layers"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear")

    budget: float = 0.05  # of the score on validation data that all layers together may cost, 0..1
    atoms: tuple[float, ...] = (1 / 6, 1 / 4, 1 / 2, 1.0)  # shares of a linear layer's smaller side, tried in order
    nonzeros: float = 1 / 3  # values in each column of the codes, as a share of the atoms, above 0 up to 1
    ranks: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75)  # shares of the rank at which a convolution costs as before
    sweeps: int = 20  # of dictionary learning, >= 0
    starts: int = 1  # of which the best dictionary is taken, >= 1; more find what is planted more surely
    smallest: int = 1024  # weights of a layer that is looked at, >= 1

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= 1 or not 0 < self.nonzeros <= 1:
            raise ConfigError("out of range", where="budget, nonzeros", value=(self.budget, self.nonzeros))
        for name in ("atoms", "ranks"):
            if not all(0 < share <= 1 for share in getattr(self, name)):
                raise ConfigError("shares lie above 0 and up to 1", where=name, value=getattr(self, name))
        if self.sweeps < 0 or self.smallest < 1 or self.starts < 1:
            values = (self.sweeps, self.smallest, self.starts)
            raise ConfigError("out of range", where="sweeps, smallest, starts", value=values)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Technique.apply.

        Records "layers" (by path: [weights before, values kept after]). Raises: TechniqueError without a layer to try.
        """
        layers = self._layers(model)
        if not layers:
            raise TechniqueError(
                "no linear layer or square convolution is large enough",
                value=self.smallest,
                fix="Lower `smallest`; layers with encodings are left as they are.",
            )
        least, changed = context.evaluate(model) - self.budget, {}
        for path in layers:
            for small in self._smaller(model.get_submodule(path), context.generator("atoms", path)):
                trial = copy.deepcopy(model)
                if self._works(trial, path, small, context) and context.evaluate(trial) >= least:
                    before = model.get_parameter(f"{path}.weight").numel()
                    model = surgery.replace(model, {path: small})
                    _attach_codes(model, path, small)
                    changed[path] = [
                        before,
                        sum(int((item != 0).sum()) for item in small.parameters() if item.dim() > 1),
                    ]
                    break
        context.record("layers", changed)
        return model

    def _layers(self, model: nn.Module) -> list[str]:
        """Paths of what can be replaced, the largest first."""
        encoded, owners = encodings_of(model), list(dict(model.named_parameters(remove_duplicate=False)).values())
        found = []
        for path, module in model.named_modules():
            if not path or type(module) not in (nn.Linear, nn.Conv2d) or module.weight.numel() < self.smallest:
                continue
            shared = sum(item is module.weight for item in owners) > 1
            if not shared and f"{path}.weight" not in encoded and (isinstance(module, nn.Linear) or _separable(module)):
                found.append((-module.weight.numel(), path))
        return [path for _, path in sorted(found)]

    def _smaller(self, layer: nn.Module, generator: torch.Generator) -> Iterator[nn.Sequential]:
        """What may stand in its place, from small to large; nothing that costs as much."""
        if isinstance(layer, nn.Linear):
            out, inputs = layer.weight.shape
            for share in sorted(self.atoms):
                count = max(1, round(share * min(out, inputs)))
                values = max(1, round(self.nonzeros * count))
                if out * count + 1.5 * values * inputs < out * inputs:  # an index is half a value
                    found = ksvd(layer.weight, count, values, generator, self.sweeps, self.starts)
                    yield _dictionary(layer, *found)
        elif isinstance(layer, nn.Conv2d):
            even = layer.out_channels * layer.in_channels * layer.kernel_size[0]
            even //= layer.out_channels + layer.in_channels
            ranks = {max(1, round(share * even)) for share in self.ranks}
            for rank in sorted(item for item in ranks if item < even):
                yield _separated(layer, rank)

    @staticmethod
    def _works(model: nn.Module, path: str, small: nn.Module, context: Context) -> bool:
        """Whether the model runs with it: some read a layer's weight themselves."""
        try:
            surgery.replace(model, {path: copy.deepcopy(small)})
            with evaluating(model):
                model(*context.example)
        except (AttributeError, RuntimeError, TypeError):
            return False
        return True


def _separable(layer: nn.Conv2d) -> bool:
    square = layer.kernel_size[0] == layer.kernel_size[1] > 1
    return square and layer.groups == 1 and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)


def _dictionary(layer: nn.Linear, basis: Tensor, codes: Tensor) -> nn.Sequential:
    out, count = basis.shape
    first = nn.Linear(codes.shape[1], count, bias=False)
    second = nn.Linear(count, out, bias=layer.bias is not None)
    return _filled(layer, first, second, codes, basis)


def _separated(layer: nn.Conv2d, rank: int) -> nn.Sequential:
    vertical, horizontal = spatial(layer.weight.detach(), rank)
    size, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    above, beside = int(padding[0]), int(padding[1])
    first = nn.Conv2d(layer.in_channels, rank, (size[0], 1), (stride[0], 1), (above, 0), (dilation[0], 1), bias=False)
    second = nn.Conv2d(
        rank,
        layer.out_channels,
        (1, size[1]),
        (1, stride[1]),
        (0, beside),
        (1, dilation[1]),
        bias=layer.bias is not None,
    )
    return _filled(layer, first, second, vertical, horizontal)


def _filled(
    layer: nn.Linear | nn.Conv2d, first: nn.Module, second: nn.Module, one: Tensor, other: Tensor
) -> nn.Sequential:
    made = nn.Sequential(first, second).to(layer.weight)
    weights = [item for item in made.parameters() if item.dim() > 1]
    with torch.no_grad():
        for weight, values in zip(weights, (one, other), strict=True):
            weight.copy_(values.reshape(weight.shape))
        if layer.bias is not None:
            made.get_parameter("1.bias").copy_(layer.bias)
    for item in made.parameters():
        item.requires_grad_(layer.weight.requires_grad)
    return made


def _attach_codes(model: nn.Module, path: str, made: nn.Sequential) -> None:
    """Codes are kept sparse, and stay so in training."""
    if isinstance(made[0], nn.Linear):
        codes = made[0].weight.detach()
        attach(model, {f"{path}.0.weight": Sparse.of(codes, codes != 0)})
