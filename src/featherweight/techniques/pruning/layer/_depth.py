"""What techniques share that take whole blocks out of a network: settings, what may go, the budget, surgery, repair."""

import copy
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import ClassVar, Literal

import torch
from torch import nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, detach, encodings_of
from featherweight.errors import ConfigError, TechniqueError, TraceError
from featherweight.graph.blocks import Block, blocks_of, chain, held, without
from featherweight.graph.cost import Sizes, products
from featherweight.graph.ir import Meta, Ref
from featherweight.graph.record import record
from featherweight.graph.surgery import replace
from featherweight.profiling.latency import Latency
from featherweight.techniques.base import Technique
from featherweight.techniques.pruning._patterns import all_match
from featherweight.techniques.pruning.layer._features import FeatureRepair
from featherweight.training.capture import recalibrate

_SLACK = 1e-9  # of the budget: sums of shares are not exact


@dataclass(frozen=True)
class Choices:
    """The blocks that may go, what each of them saves, and what `target` (in the same unit) is to be saved in all.

    `whole` is what the network costs; `left_whole` are blocks that stay, with the reason.
    """

    blocks: tuple[Block, ...]
    savings: tuple[float, ...]
    whole: float
    target: float
    left_whole: dict[str, str]

    def saved(self, gone: Iterable[int]) -> float:
        """What these blocks save together."""
        return sum(self.savings[number] for number in gone)

    def miss(self, gone: Collection[int]) -> float:
        """How far from the target the network without these blocks is."""
        return abs(self.saved(gone) - self.target)

    def nearer(self, gone: Collection[int]) -> list[int]:
        """The blocks that are left and bring the network nearer to the target."""
        now, slack = self.miss(gone), _SLACK * self.whole
        rest = (number for number in range(len(self.blocks)) if number not in gone)
        return [number for number in rest if self.miss([*gone, number]) < now - slack]

    def paths(self, gone: Iterable[int]) -> list[str]:
        """Their paths, in the order in which they run."""
        return [self.blocks[number].path for number in sorted(gone)]

    def parts(self, gone: Iterable[int]) -> list[Block]:
        """The blocks themselves."""
        return [self.blocks[number] for number in sorted(gone)]


@dataclass(frozen=True, kw_only=True)
class DepthPruning(Technique):
    """Removes whole blocks, and branches that code adds; something that passes its input on stands in their places.

    `of` says what `ratio` is a share of: "blocks", "parameters", "macs" (multiply-adds) or "latency" (measured on this
    machine, on the task's example). What is removed comes as near to it as whole blocks can.
    """

    strength: ClassVar[str | None] = "ratio"
    gentle: ClassVar[float] = 0.0
    applies_to: ClassVar[tuple[str, ...]] = ("residual blocks", "transformer layers", "layers of equal width")

    ratio: float = 0.3  # share to remove, 0 <= ratio < 1
    of: Literal["blocks", "parameters", "macs", "latency"] = "blocks"  # what the ratio is a share of
    blocks: tuple[str, ...] = ()  # patterns of the modules that may go; default: those that depth is counted in
    keep: tuple[str, ...] = ()  # patterns of modules that stay
    examples: int = 512  # of the calibration split that are looked at, >= 1
    repair: Literal["none", "statistics", "features"] = "features"  # batch-norm statistics, or features as well
    steps: int = 100  # of training for each gap that features are repaired at, >= 0
    rate: float = 1e-3  # of that training (Adam), > 0; falls to 0 by a cosine
    epochs: float = 0.0  # of training with labels afterwards, >= 0
    learning_rate: float = 0.1  # of that training, times the task's, > 0; falls to 0 by a cosine

    def __post_init__(self) -> None:
        fits = {
            "ratio": (0 <= self.ratio < 1, "Use a share from 0 up to below 1."),
            "examples": (self.examples >= 1, "Use 1 or more."),
            "steps": (self.steps >= 0, "Use 0 or more."),
            "rate": (0 < self.rate < inf, "Use a positive number."),
            "epochs": (0 <= self.epochs < inf, "Use a finite number from 0."),
            "learning_rate": (0 < self.learning_rate < inf, "Use a positive number."),
        }
        for name, (good, fix) in fits.items():
            if not good:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix=fix)

    @abstractmethod
    def choose(self, model: nn.Module, choices: Choices, context: Context) -> Collection[int]:
        """The numbers of the blocks that go. Leaves the model as it is."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The shallower model, the same instance.

        Records "removed" and "left" (paths of blocks), "asked" and "reached" (shares of `of`), "whole" (blocks that
        have to stay, and why) and, with repaired features, "feature_error" (by gap: before and after).

        Raises: TechniqueError when the model cannot be looked at or has no blocks that can go, and for a pattern that
        matches no module.
        """
        choices = self.choices(model, context)
        if self.ratio == 0:
            return model
        gone = self.choose(model, choices, context)
        before = copy.deepcopy(model) if self.repair == "features" and gone else model
        cost = _Cost(self.of, context)
        whole = cost(model)
        take_out(model, choices.parts(gone))
        reached = len(gone) / choices.whole if self.of == "blocks" else 1 - cost(model) / whole
        context.record("removed", choices.paths(gone))
        context.record("left", choices.paths(set(range(len(choices.blocks))) - set(gone)))
        context.record("asked", self.ratio)
        context.record("reached", reached)
        context.record("whole", choices.left_whole)
        if gone:
            self._repair(before, model, choices.paths(gone), context)
            self._train(model, context)
        return model

    def choices(self, model: nn.Module, context: Context) -> Choices:
        """What may go, and what it saves. Raises: TechniqueError, as `apply` does."""
        names = [name for name, _ in model.named_modules(remove_duplicate=False)]
        all_match(self.blocks, names, "blocks")
        all_match(self.keep, names, "keep")
        try:
            found = blocks_of(model, context.example)
        except TraceError as error:
            raise TechniqueError(
                "the model cannot be traced", where=error.where, value=error.what, fix=error.fix
            ) from error
        named = [block for block in found if _fits(block, self.blocks)]
        depth = _apart(chain(found) if not self.blocks else _outermost(named))
        reasons = {
            block.path: "kept" if _stays(model, block, self.keep) else held(model, context.example, block)
            for block in depth
        }
        free = tuple(block for block in depth if not reasons[block.path])
        if not free:
            raise TechniqueError(
                "the model has no blocks that can go",
                where=type(model).__name__,
                value=reasons or "no module gives a tensor of the shape that it gets, nor is added to one",
                fix=f"In `blocks` one can name {', '.join(block.path for block in found[:12])}." if found else "",
            )
        whole, savings = self._costs(model, depth, free, context)
        left_whole = {path: reason for path, reason in reasons.items() if reason}
        return Choices(free, savings, whole, self.ratio * whole, left_whole)

    def _costs(
        self, model: nn.Module, depth: Sequence[Block], free: Sequence[Block], context: Context
    ) -> tuple[float, tuple[float, ...]]:
        """What the whole network costs, and what each block saves."""
        if self.of == "blocks":
            return float(len(depth)), (1.0,) * len(free)
        cost = _Cost(self.of, context)
        whole = cost(model)
        if self.of == "latency":
            savings = []
            for block in free:
                with without(model, [block]):
                    savings.append(max(0.0, whole - cost(model)))
            return whole, tuple(savings)
        return whole, tuple(float(getattr(block, self.of)) for block in free)

    def _repair(self, before: nn.Module, model: nn.Module, removed: Sequence[str], context: Context) -> None:
        if self.repair == "none":
            return
        batches = list(context.batches("calibration", self.examples))
        recalibrate(model, batches)
        if self.repair == "features":
            features = FeatureRepair(self.steps, self.rate)
            context.record("feature_error", features(before, model, removed, batches, context))
            recalibrate(model, batches)
        attach(model, encodings_of(model))  # what changed is finer than it is stored

    def _train(self, model: nn.Module, context: Context) -> None:
        if self.epochs:
            rate = self.learning_rate * context.training.learning_rate
            context.finetune(model, Finetuning(epochs=self.epochs, learning_rate=rate))
            attach(model, encodings_of(model))


def take_out(model: nn.Module, blocks: Sequence[Block]) -> None:
    """Puts what stands for the blocks in their places, in the model itself and in its log."""
    if not blocks:
        return
    detach(model, {name for name in encodings_of(model) if any(block.holds(name) for block in blocks)})
    replace(model, {path: module for block in blocks for path, module in block.stand_ins().items()})


class _Cost:
    """What a network costs in a unit."""

    def __init__(self, unit: str, context: Context) -> None:
        self._unit, self._example = unit, context.example

    def __call__(self, model: nn.Module) -> float:
        if self._unit == "latency":
            return Latency(runs=20).measure(model, self._example).value
        if self._unit == "parameters":
            return float(sum(parameter.numel() for parameter in model.parameters()))
        return _macs(model, self._example) if self._unit == "macs" else 0.0


def _macs(model: nn.Module, example: tuple[object, ...]) -> float:
    graph = record(model, example, whole=True).graph

    def sizes(value: object) -> Sizes:
        meta = graph.meta(value) if isinstance(value, Ref) else None
        return meta.shape if isinstance(meta, Meta) else ()

    terms = [
        term
        for number, node in enumerate(graph.nodes, graph.first_node)
        for term in products(node, sizes(Ref(number)), sizes)
    ]
    return float(sum(factor * torch.Size(dims).numel() for factor, dims in terms))


def _fits(block: Block, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in block.names)


def _stays(model: nn.Module, block: Block, patterns: Sequence[str]) -> bool:
    """Whether a module that is to stay would go with the block."""
    going = [name for name, _ in model.named_modules(remove_duplicate=False) if block.holds(name)]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in going)


def _outermost(blocks: Sequence[Block]) -> list[Block]:
    """Those that lie in no other; a block with one inside it goes with it."""
    return [block for block in blocks if not any(other.covers(block) for other in blocks)]


def _apart(blocks: Sequence[Block]) -> list[Block]:
    """The blocks without those that share a module with one before them."""
    found: list[Block] = []
    for block in blocks:
        if not any(block.meets(other) for other in found):
            found.append(block)
    return found
