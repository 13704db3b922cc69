"""The settings that all low-rank techniques share, and the one way in which they replace layers."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from featherweight.core.context import Context, Finetuning
from featherweight.errors import ConfigError
from featherweight.techniques.base import Technique
from featherweight.techniques.representation.low_rank._choice import Ranks, choose, fixed_cost
from featherweight.techniques.representation.low_rank._find import Layer, find
from featherweight.techniques.representation.low_rank._parts import Measure, Part
from featherweight.techniques.representation.low_rank._replace import replace

Of = Literal["macs", "parameters", "ratio", "energy", "automatic"]


@dataclass(frozen=True, kw_only=True)
class LowRank(Technique):
    """Fields and steps of a technique that replaces layers one by one, without looking at data."""

    strength: ClassVar[str | None] = "keep"
    gentle: ClassVar[float] = 1.0
    kinds: ClassVar[tuple[type[nn.Module], ...]] = ()

    keep: float = 0.5  # how much is kept, 0 < keep <= 1; of what, `of` says
    of: Of = "macs"  # the network's multiply-adds or parameters; each layer's ratio of ranks, energy, or at least that
    # ratio of ranks and all that stand out of the noise ("automatic")
    rank: int | None = None  # the same rank for every layer, 1 or more, in place of `keep`
    multiple: int = 1  # ranks are multiples of this, 1 or more, or full; 8 and 16 suit processors
    layers: tuple[str, ...] = ()  # patterns of layer names; empty: all that can be factored
    epochs: float = 2.0  # of fine-tuning afterwards, >= 0
    learning_rate: float = 0.1  # of fine-tuning, as a multiple of the task's, > 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[bool, str]] = {
            "keep": (0 < self.keep <= 1, "a share above 0 and up to 1"),
            "rank": (self.rank is None or self.rank >= 1, "a rank of 1 or more, or none"),
            "multiple": (self.multiple >= 1, "1 or more"),
            "epochs": (0 <= self.epochs < math.inf, "a number from 0"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a number above 0"),
        }
        for name, (fits, expected) in ranges.items():
            if not fits:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix=f"Use {expected}.")

    @abstractmethod
    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """What of a layer can be factored, each with its ranks and their costs; nothing: the layer stays."""

    @abstractmethod
    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """The module that takes the layer's place, with ranks for each part; None: that part stays whole."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with layers replaced and noted in its log, then fine-tuned.

        Records "ranks" (by layer), "whole" (layers left as they were: why), "kept" (share of the network's
        multiply-adds and parameters) and "gains" (of each replaced layer: storage and computation, as factors).

        Raises: TechniqueError when the model has no layer of the kinds, or encodings hold the weights of one that is
        to be replaced; ConfigError for a pattern that fits nothing.
        """
        found = find(model, context, self.kinds, self.layers)
        whole = dict(found.whole)
        measure: Measure = "parameters" if self.of == "parameters" else "macs"
        parts = {layer.path: self.parts(layer, measure, context) for layer in found.layers}
        flat = [part for layer in found.layers for part in parts[layer.path]]
        fixed = fixed_cost(model, context, flat, measure) if self.rank is None and self.of == measure else 0.0
        chosen = iter(choose(self, flat, fixed))
        modules, ranks = {}, {}
        for layer in found.layers:
            own = [next(chosen) for _ in parts[layer.path]]
            if any(item is not None for item in own):
                modules[layer.path] = self.build(layer, own, context)
                ranks[layer.path] = own
            else:
                whole[layer.path] = "its factors would cost more than it does" if own else "it has one rank or none"
        replace(model, modules, context)
        context.record("ranks", {path: _plain(own) for path, own in ranks.items()})
        context.record("whole", whole)
        context.record("gains", {path: self._gains(found.by_path[path], ranks[path], context) for path in ranks})
        if modules and self.epochs > 0:
            rate = self.learning_rate * context.training.learning_rate
            self.finetune(model, list(modules), Finetuning(epochs=self.epochs, learning_rate=rate), context)
        return model

    def finetune(self, model: nn.Module, paths: list[str], settings: Finetuning, context: Context) -> None:
        """Trains on after the replacement of the modules at `paths`."""
        context.finetune(model, settings)

    def _gains(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> Mapping[str, float]:
        """Cost of the layer's matrices before, over their cost now; biases are the same in both and not counted."""
        names: dict[str, Measure] = {"storage": "parameters", "computation": "macs"}
        gains = {}
        for name, measure in names.items():
            parts = self.parts(layer, measure, context)
            costs = [part.whole if own is None else part.cost(own) for part, own in zip(parts, ranks, strict=True)]
            gains[name] = sum(part.whole for part in parts) / sum(costs)
        return gains


def _plain(ranks: list[Ranks | None]) -> list[list[int] | None]:
    return [None if item is None else list(item) for item in ranks]
