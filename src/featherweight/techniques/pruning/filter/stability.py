"""Removes the filters that collapse first when the network goes on training under an l1 penalty.

P. Singh et al. 2019 (WACV, "Stability based filter pruning for accelerating deep CNNs"). The paper's abstract says
that filters which are not stable in further training go; the index, the rounds and all numbers are our reconstruction.
With F the weights that make a channel, before (0) and after (1) some epochs with penalty * sum |F| in the loss, a
channel is scored by |F1| / |F0| (sums of magnitudes): the share that is left, so that layers of any size compare.
Those with the smallest share go, from the weights before the penalty; then the network is trained, and the next round
begins.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.errors import ConfigError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._rounds import Rounds
from featherweight.techniques.pruning._scores import filters
from featherweight.techniques.pruning._structured import Structured


@dataclass(frozen=True, kw_only=True)
class Stability(Structured):
    """Removes the filters whose weights shrink most, relative to themselves, in training with an l1 penalty."""

    survey: ClassVar[str] = "[88] Singh et al. 2019, Stability Based Filter Pruning for Accelerating Deep CNNs"

    penalty: float = 1e-3  # weight of the l1 norm of all filters in the loss, > 0
    penalty_epochs: float = 2.0  # of training with it, each round, > 0
    penalty_rate: float = 1.0  # learning rate of that training, times the task's, > 0
    tolerance: float = 0.01  # score that it may cost; where it costs more, the penalty is divided by 10, twice at most
    rounds: int = 1  # in which the ratio is reached, with `epochs` of training after each, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("penalty", "penalty_epochs", "penalty_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use a positive number.")
        if not 0 <= self.tolerance <= 1:
            raise ConfigError("out of range", where="tolerance", value=self.tolerance, fix="Use a share from 0 to 1.")
        if self.rounds < 1:
            raise ConfigError("out of range", where="rounds", value=self.rounds, fix="Use at least 1.")

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """The share of each channel's weights that the penalty leaves."""
        before = [filters(model, group).abs().sum(1) for group in groups]
        shrunk = self._shrunk(model, groups, context)
        after = [filters(shrunk, group).abs().sum(1) for group in groups]
        return [now / old.clamp(min=1e-30) for now, old in zip(after, before, strict=True)]

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply."""
        if self.rounds == 1 or self.ratio == 0:
            return super().apply(model, context)
        left = Rounds(self, model, context)
        for number in range(1, self.rounds + 1):
            left.measure(lambda now, known, groups: self.scores(now, known, groups, context))
            left.cut(number / self.rounds)
            self.train(left.model, context, self.epochs)
        left.record()
        return left.model

    def _shrunk(self, model: nn.Module, groups: Sequence[Group], context: Context) -> nn.Module:
        """A copy, trained with the penalty; a tenth of it where the score falls too far."""
        wanted = context.evaluate(model) - self.tolerance
        rate = self.penalty_rate * context.training.learning_rate
        names = sorted({slot.tensor for group in groups for slot in group.slots if slot.role == "out"})
        settings = Finetuning(epochs=self.penalty_epochs, learning_rate=rate, weight_decay=0.0)
        penalty = self.penalty
        for again in (True, True, False):
            shrunk = copy.deepcopy(model)
            context.finetune(shrunk, settings, extra_loss=_l1(names, penalty))
            if not again or context.evaluate(shrunk) >= wanted:
                break
            penalty /= 10
        context.record("penalty", penalty)
        return shrunk


def _l1(names: Sequence[str], weight: float) -> Callable[[nn.Module], Tensor]:
    """The penalty, as a function of the network that is trained."""

    def penalty(model: nn.Module) -> Tensor:
        tensors = dict(model.named_parameters(remove_duplicate=False))
        return weight * torch.stack([tensors[name].abs().sum() for name in names if name in tensors]).sum()

    return penalty
