"""The settings that all low-rank techniques share, and how those that look at weights alone replace layers."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
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

_NEAR = 0.02  # a budget is met when no more than this is missing, relative


@dataclass(frozen=True, kw_only=True)
class LowRank(Technique):
    """The settings of a technique that replaces layers by chains of thinner ones."""

    strength: ClassVar[str | None] = "keep"
    gentle: ClassVar[float] = 1.0
    kinds: ClassVar[tuple[type[nn.Module], ...]] = ()

    keep: float = 0.5  # how much is kept, 0 < keep <= 1; of what, `of` says
    # the network's multiply-adds or parameters; each layer's ratio of ranks, or energy; "automatic": at least that
    # ratio of ranks, and all that stand out of the noise
    of: Literal["macs", "parameters", "ratio", "energy", "automatic"] = "macs"  # what `keep` is a share of
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

    @property
    def measure(self) -> Measure:
        """What costs are counted in."""
        return "parameters" if self.of == "parameters" else "macs"

    def chosen(
        self, parts: Mapping[str, list[Part]], model: nn.Module, context: Context
    ) -> dict[str, list[Ranks | None]]:
        """The ranks of the parts of each layer; None for a part that stays whole. Records what is kept of a budget."""
        flat = [part for own in parts.values() for part in own]
        budget = self.rank is None and self.of == self.measure
        fixed = fixed_cost(model, context, flat, self.measure) if budget else 0.0
        found = choose(self, flat, fixed)
        if budget:
            spent = [part.whole if own is None else part.cost(own) for part, own in zip(flat, found, strict=True)]
            kept = (sum(spent) + fixed) / max(1.0, sum(part.whole for part in flat) + fixed)
            context.record("kept", kept)
            if kept > self.keep * (1 + _NEAR):
                context.progress.note(f"{kept:.1%} of the {self.of} stay: layers that cannot be factored need the rest")
        ranks = iter(found)
        return {path: [next(ranks) for _ in own] for path, own in parts.items()}

    def trained_on(self, model: nn.Module, context: Context) -> nn.Module:
        """The model after fine-tuning, where there is any."""
        if self.epochs > 0:
            rate = self.learning_rate * context.training.learning_rate
            context.finetune(model, Finetuning(epochs=self.epochs, learning_rate=rate))
        return model


@dataclass(frozen=True, kw_only=True)
class ByWeights(LowRank):
    """The steps of a technique that factors each layer by itself."""

    @abstractmethod
    def parts(self, layer: Layer, measure: Measure, context: Context) -> list[Part]:
        """What of a layer can be factored, each with its ranks and their costs; nothing: the layer stays."""

    @abstractmethod
    def build(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> nn.Module:
        """The module that takes the layer's place, with ranks for each part; None: that part stays whole."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with layers replaced and noted in its log, then fine-tuned.

        Records "ranks" (by layer), "whole" (layers left as they were: why), "gains" (of each
        replaced layer: storage and computation, as factors) and, for a budget, "kept" (the share of it that is left).

        Raises: TechniqueError when the model has no layer of the kinds, or encodings hold the weights of one that is
        to be replaced; ConfigError for a pattern that fits nothing.
        """
        found = find(model, context, self.kinds, self.layers)
        parts = {layer.path: self.parts(layer, self.measure, context) for layer in found.layers}
        ranks = self.chosen(parts, model, context)
        taken = {path: own for path, own in ranks.items() if any(item is not None for item in own)}
        modules = {path: self.build(found.by_path[path], own, context) for path, own in taken.items()}
        context.record("ranks", plain(taken))
        context.record("whole", found.whole | reasons(ranks))
        context.record("gains", {path: self._gains(found.by_path[path], taken[path], context) for path in taken})
        if not modules:
            return model
        return self.put(model, modules, context)

    def put(self, model: nn.Module, modules: Mapping[str, nn.Module], context: Context) -> nn.Module:
        """The model with the modules in their places, trained on."""
        replace(model, modules, context)
        return self.trained_on(model, context)

    def _gains(self, layer: Layer, ranks: list[Ranks | None], context: Context) -> dict[str, float]:
        measures: tuple[Measure, ...] = ("parameters", "macs")
        return gains_of({measure: self.parts(layer, measure, context) for measure in measures}, ranks)


def plain(ranks: Mapping[str, Sequence[Ranks | None]]) -> dict[str, list[list[int] | None]]:
    """Ranks as JSON values."""
    return {path: [None if item is None else list(item) for item in own] for path, own in ranks.items()}


def reasons(ranks: Mapping[str, Sequence[Ranks | None]]) -> dict[str, str]:
    """Why layers without any rank stay as they are."""
    return {
        path: "its factors would cost more than it does" if own else "it cannot be factored in this form"
        for path, own in ranks.items()
        if all(item is None for item in own)
    }


def gains_of(parts: Mapping[Measure, list[Part]], ranks: Sequence[Ranks | None]) -> dict[str, float]:
    """Cost of a layer's matrices before, over their cost now: "storage" and "computation", biases not counted."""
    gains = {}
    for measure, own in parts.items():
        costs = [part.whole if item is None else part.cost(item) for part, item in zip(own, ranks, strict=True)]
        name = "storage" if measure == "parameters" else "computation"
        gains[name] = sum(part.whole for part in own) / sum(costs)
    return gains
