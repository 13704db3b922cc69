"""Removes the channels whose loss, to first order, costs least, a few at a time while the network trains.

Two criteria from the same numbers a (examples, channels), gradient times gate (see `_scores.py`):

- "gate": Molchanov et al. 2019 (CVPR, "Importance estimation for neural network pruning"): the square of the mean of a
  over a batch, averaged over batches, then over rounds (moving average 0.9). Gates of one channel in several places, as
  in a residual stream, are divided by how many there are. Small batches make noise of the squares: on digits the rank
  correlation with the true change of the loss is 0.65 with batches of 32, 0.83 of 256 and 0.95 of all 1347.
- "activation": Molchanov et al. 2017 (ICLR, "Pruning convolutional neural networks for resource efficient inference"):
  |mean over places of dC/dz z| for each example alone, averaged over examples (not the magnitude of the average, in
  which signs cancel), over its l2 norm in the layer; less `flops` times the mega multiply-adds of one channel.

A network that is trained to the end has hardly a gradient left: the criteria are meant for use during fine-tuning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.errors import ConfigError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._rounds import Rounds
from featherweight.techniques.pruning._scores import gates, gates_of, influences
from featherweight.techniques.pruning._structured import Structured

_MEGA = 1e6


@dataclass(frozen=True, kw_only=True)
class Taylor(Structured):
    """Removes the channels that the loss, by its gradient, misses least; a few at a time, training in between."""

    survey: ClassVar[str] = "[24] Molchanov et al. 2019, Importance Estimation for Neural Network Pruning"
    relative: ClassVar[bool] = False

    scope: Literal["local", "global"] = "global"  # the same share of each group, or one ranking
    criterion: Literal["gate", "activation"] = "gate"  # of 2019 (squared, by batch) or 2017 (absolute, by example)
    schedule: Literal["iterative", "one_shot"] = "iterative"  # a few channels at a time, or all at once
    interval: int = 30  # training steps between two rounds, >= 1
    count: int = 100  # channels that go in a round, about, >= 1
    momentum: float = 0.9  # weight of earlier rounds in the scores, 0 <= momentum < 1
    examples: int = 1024  # training examples that scores are taken from, >= 1
    batch: int = 256  # "gate" only: examples whose gradients are averaged before the square, at least the task's, >= 1
    flops: float = 0.0  # "activation" only: taken from the score for each mega multiply-add; the paper uses 1e-3; >= 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("interval", "count", "examples", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use at least 1.")
        if not 0 <= self.momentum < 1:
            raise ConfigError("out of range", where="momentum", value=self.momentum, fix="Use 0 up to below 1.")
        if not 0 <= self.flops < math.inf:
            raise ConfigError("out of range", where="flops", value=self.flops, fix="Use a finite number from 0.")

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """The importance of each channel by the criterion."""
        together = 1 if self.criterion == "activation" else None
        rows = influences(model, known, groups, context, examples=self.examples, together=together)
        if self.criterion == "gate":
            places = gates(known)
            shared = [max(len(gates_of(group, places)), 1) for group in groups]
            pool = -(-self.batch // context.training.batch_size)
            means = [torch.stack([part.mean(0) for part in torch.split(values, pool)]) for values in rows]
            return [values.square().mean(0) / count for values, count in zip(means, shared, strict=True)]
        sizes = [values.abs().mean(0) for values in rows]
        normed = [values / max(float(values.norm()), 1e-30) for values in sizes]
        return [values - self.flops * _megas(known, group) for values, group in zip(normed, groups, strict=True)]

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply."""
        if self.schedule == "one_shot" or self.ratio == 0:
            return super().apply(model, context)
        steps = context.remember("steps an epoch", lambda: sum(1 for _ in context.batches("train")))
        rate = self.learning_rate * context.training.learning_rate
        between = Finetuning(epochs=self.interval / max(steps, 1), learning_rate=rate, final_learning_rate=rate)
        left = Rounds(self, model, context, self.momentum)
        left.measure(lambda now, known, groups: self.scores(now, known, groups, context))
        rounds = max(1, math.ceil(left.plan() / self.count))
        for number in range(1, rounds + 1):
            left.cut(number / rounds)
            context.finetune(left.model, between)
            if number < rounds:
                left.measure(lambda now, known, groups: self.scores(now, known, groups, context))
        self.train(left.model, context, self.epochs)
        left.record()
        return left.model


def _megas(known: Anatomy, group: Group) -> float:
    """Multiply-adds that one channel costs, in millions."""
    whole = known.cost.macs(known.gone([]))
    return (whole - known.cost.macs(known.gone(group.atoms[:1]))) / _MEGA
