"""Removes the blocks whose absence costs least, and repairs the features around the gaps.

A residual network gives much the same without one of its blocks: A. Veit et al. 2016 (NeurIPS, "Residual networks
behave like ensembles of relatively shallow networks"), section 4.1. Here each block is left out in turn and the loss,
or the change of what the network gives, is measured on calibration data, with batch-norm statistics renewed; the
cheapest goes first. The modules around a gap are then trained to give the features of the whole network (_features.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

from torch import nn

from featherweight.core.context import Context
from featherweight.errors import TechniqueError
from featherweight.techniques.pruning.layer._depth import Choices, DepthPruning
from featherweight.techniques.pruning.layer._judge import Criterion, Judge


@dataclass(frozen=True, kw_only=True)
class BlockRemoval(DepthPruning):
    """Removes the blocks without which the loss, or what the network gives, changes least."""

    survey: ClassVar[str] = "Veit et al. 2016, Residual Networks Behave Like Ensembles of Relatively Shallow Networks"

    criterion: Criterion = "loss"  # the task's loss, or (without labels) the change of what the network gives
    order: Literal["greedy", "once"] = "greedy"  # measure again after each removal, or each block alone and once

    def choose(self, model: nn.Module, choices: Choices, context: Context) -> Collection[int]:
        """The cheapest blocks, within the budget. Records "scores", a table by path for each round of measuring."""
        judge = Judge(self.criterion, model, list(context.batches("calibration", self.examples)), context)
        gone: list[int] = []
        rounds: list[dict[str, float]] = []
        scores: dict[str, float] = {}
        while left := choices.nearer(gone):
            if self.order == "greedy" or not rounds:
                scores = self._round(judge, choices, gone, left if self.order == "greedy" else None, context)
                rounds.append(scores)
            gone.append(min(left, key=lambda number: (scores[choices.blocks[number].path], -choices.savings[number])))
        context.record("scores", rounds)
        context.record("order", [choices.blocks[number].path for number in gone])
        return gone

    def _round(
        self, judge: Judge, choices: Choices, gone: list[int], left: list[int] | None, context: Context
    ) -> dict[str, float]:
        """The measure without what is gone and one more, by the path of that one."""

        def measured() -> dict[str, float]:
            scores: dict[str, float] = {}
            with context.progress.bar(f"without {len(gone) + 1} blocks", len(numbers)) as bar:
                for number in numbers:
                    path, value = choices.blocks[number].path, judge(choices.parts([*gone, number]))
                    if not isfinite(value):
                        raise TechniqueError("the measure without a block is not finite", where=path, value=value)
                    scores[path] = value
                    bar.advance()
            return scores

        numbers = range(len(choices.blocks)) if left is None else left
        scores: dict[str, float] = context.remember(f"round {len(gone)}", measured)
        return scores
