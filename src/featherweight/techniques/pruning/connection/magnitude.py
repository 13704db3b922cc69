"""Removes the connections with the smallest weights and retrains the others.

Survey [86]: Han, Pool, Tran and Dally 2015 (NIPS, "Learning both weights and connections for efficient neural
networks"); gradual schedule: Zhu and Gupta 2017 (arXiv 1710.01878). Density is the share of weights that is kept,
0..1, counted over the weights that the technique works on. Biases and norms are never pruned.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.errors import ConfigError, TechniqueError
from featherweight.numerics.masks import keep_above_std
from featherweight.techniques._selection import (
    WEIGHTS,
    Kind,
    Weight,
    check_setting,
    select,
    value_for,
    with_values,
)
from featherweight.techniques.base import Technique
from featherweight.techniques.pruning.connection._allocation import Goal, cubic, erk_densities, geometric
from featherweight.techniques.pruning.connection._dead import prune_dead
from featherweight.techniques.pruning.connection._dropout import Dropout, dropouts_of
from featherweight.techniques.pruning.connection._pruner import Pruner
from featherweight.techniques.pruning.connection._sensitivity import equal_drop, scan

_PRUNABLE: tuple[Kind, ...] = (*WEIGHTS, "embedding")
_UPDATES = 100  # masks made during a gradual ramp; more change nothing, fewer make visible jumps


@dataclass(frozen=True, kw_only=True)
class Magnitude(Technique):
    """Removes the connections with the smallest weights and retrains the others. Survey [86], Han et al. 2015.

    Schedules: "gradual" prunes in a cubic ramp inside one training; "iterative" prunes and retrains in `rounds`, as
    the paper does; "one_shot" prunes once and retrains.

    Allocations of a density to tensors: "lamp" and "global" compare weights of all tensors (by layer-adaptive score,
    by plain magnitude), "uniform" gives each the same density, "erk" small ones a higher one, "sensitivity" lets each
    tensor alone cost the same validation score. A `density` by pattern fixes the tensors that it names and leaves the
    others alone.
    """

    strength: ClassVar[str | None] = "density"
    gentle: ClassVar[float] = 1.0
    survey: ClassVar[str] = "[86] Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "embedding (by pattern)")

    density: float | Mapping[str, float] = 0.1  # share kept, 0 < density <= 1; or {pattern: share}
    schedule: Literal["gradual", "iterative", "one_shot"] = "gradual"  # when to prune, see above
    allocation: Literal["lamp", "global", "uniform", "erk", "sensitivity"] = "lamp"  # of an overall density
    epochs: float = 10.0  # of training in all, >= 0; 0 prunes without data
    learning_rate: float = 1.0  # times the task's, > 0; falls to 0 by a cosine (in every round anew)
    rounds: int = 4  # of an iterative schedule, >= 1
    ramp: float = 0.6  # share of a gradual training over which the masks shrink, 0..1
    criterion: Literal["density", "std"] = "density"  # "std": keep |w| > quality x std, and at least `density`
    quality: float | Mapping[str, float] = 1.0  # >= 0; in standard deviations of the weights that are left
    sensitivity: bool = False  # record the curves for the report whatever the allocation is
    l1: float = 0.0  # weight of sum |w| over the pruned tensors in the training loss, >= 0
    l2: float = 0.0  # weight of sum w^2, >= 0
    clean: bool = True  # at the end also prune what has no effect: ways into unread and out of constant units
    adjust_dropout: bool = True  # scale dropout by the square root of the connections left
    tensors: tuple[str, ...] = ()  # patterns of names; empty: all conv, linear and recurrent weights

    def __post_init__(self) -> None:
        check_setting("density", self.density, lambda value: 0 < value <= 1, "a share above 0 and up to 1")
        check_setting("quality", self.quality, lambda value: 0 <= value < math.inf, "a number from 0")
        limits = {"epochs": 0.0, "l1": 0.0, "l2": 0.0, "rounds": 1, "ramp": 0.0, "learning_rate": 0.0}
        for name, least in limits.items():
            value = getattr(self, name)
            if not least <= value < math.inf or (name == "learning_rate" and value == 0):
                raise ConfigError("out of range", where=name, value=value, fix=f"Use a finite number from {least}.")
        if self.ramp > 1:
            raise ConfigError("out of range", where="ramp", value=self.ramp, fix="Use a share from 0 to 1.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with a mask on every chosen weight, its survivors retrained.

        Records "density" (by tensor), "dead" (how many weights had no effect any more; null for a model that cannot
        be traced) and, when it was measured, "sensitivity" (by tensor: [density, score] pairs).

        Raises: TechniqueError when nothing can be pruned or weights are not finite, ConfigError for a pattern that
        fits nothing.
        """
        weights = self._chosen(model)
        if self.criterion == "density" and self._is_dense(weights):
            return model
        densities = self._shares(model, weights, context)
        pruner = Pruner(model, weights)
        goal = partial(self._goal, pruner, densities)
        dropouts = dropouts_of(model, weights) if self.adjust_dropout else []
        _Schedule(self, pruner, goal, dropouts, context).run()
        if self.clean:
            context.record("dead", prune_dead(pruner, context))
        pruner.close()
        attach(model, encodings_of(model))  # training leaves values finer than they are stored
        context.record("density", dict(zip((weight.name for weight in weights), pruner.densities(), strict=True)))
        return model

    def _chosen(self, model: nn.Module) -> list[Weight]:
        chosen = [weight for weight in select(model, self.tensors, WEIGHTS) if weight.kind in _PRUNABLE]
        if not chosen:
            raise TechniqueError("biases and norms are not pruned", value=self.tensors, fix="Name weights.")
        kept = [weight for weight, _ in with_values(chosen, self.density)]
        if self.criterion == "std":
            kept = [weight for weight, _ in with_values(kept, self.quality)]
        if not kept:
            raise ConfigError("density and quality name different tensors", where="quality", value=self.quality)
        return kept

    def _is_dense(self, weights: list[Weight]) -> bool:
        return all(value == 1 for _, value in with_values(weights, self.density))

    def _shares(self, model: nn.Module, weights: list[Weight], context: Context) -> tuple[float, ...] | None:
        """The density of each tensor, or None when weights of all tensors compete."""
        by_curves = self.allocation == "sensitivity" and isinstance(self.density, float | int)
        curves = {}
        if self.sensitivity or by_curves:
            curves = context.remember("sensitivity", lambda: scan(model, weights, context))
            context.record("sensitivity", curves)
        if isinstance(self.density, Mapping) or self.allocation == "uniform" or self.criterion == "std":
            return tuple(value for _, value in with_values(weights, self.density))
        if self.allocation == "erk":
            return tuple(erk_densities([tuple(weight.parameter.shape) for weight in weights], self.density))
        if self.allocation == "sensitivity":
            sizes = {weight.name: weight.parameter.numel() for weight in weights}
            found = equal_drop(curves, sizes, self.density)
            return tuple(found[weight.name] for weight in weights)
        return None

    def _goal(self, pruner: Pruner, densities: tuple[float, ...] | None) -> Goal:
        """Where pruning is to end, judged by the weights as they are now."""
        if self.criterion == "std" and densities is not None:
            found = []
            for weight, mask, least in zip(pruner.weights, pruner.masks(), densities, strict=True):
                kept = keep_above_std(weight.parameter, mask, value_for(weight, self.quality) or 0.0)
                found.append(max(least, float(kept.sum()) / kept.numel()))
            return Goal(tuple(found))
        if densities is not None:
            return Goal(densities)
        overall = self.density if isinstance(self.density, float | int) else 1.0
        return Goal(None, overall, "global" if self.allocation == "global" else "lamp")


class _Schedule:
    """One run of pruning and retraining."""

    def __init__(
        self,
        settings: Magnitude,
        pruner: Pruner,
        goal: Callable[[], Goal],
        dropouts: list[Dropout],
        context: Context,
    ) -> None:
        self.settings, self.pruner, self.goal = settings, pruner, goal
        self.dropouts, self.context = dropouts, context

    def run(self) -> None:
        """Prunes and retrains as the settings say; without epochs, only prunes."""
        if self.settings.epochs == 0 or self.settings.schedule == "one_shot":
            self._shrink(self.goal(), 1.0)
            self._train(self.settings.epochs)
        elif self.settings.schedule == "iterative":
            for number in range(1, self.settings.rounds + 1):
                self._shrink(self.goal(), number / self.settings.rounds)
                self._train(self.settings.epochs / self.settings.rounds)
        else:
            self.pruner.open()
            goal = self.goal()
            self._train(self.settings.epochs, on_step=partial(self._ramp, goal))
            self._shrink(goal, 1.0)  # no-op, unless the training was too short for the ramp

    def _ramp(self, goal: Goal, model: nn.Module, step: int, total: int) -> None:
        """Shrinks the masks along the cubic; called before every step of a gradual training."""
        last = min(int(total * self.settings.ramp), total - 1)
        every = max(1, last // _UPDATES)
        if step == last or (step < last and step % every == 0 and step > 0):
            self._shrink(goal, step / last if last else 1.0)
        else:
            self._adjust_dropout()

    def _shrink(self, goal: Goal, progress: float) -> None:
        gradual = self.settings.schedule == "gradual"
        whole_at_once = self.settings.criterion == "std" and not gradual  # thresholds are of this round already
        blend = cubic(progress) if gradual else geometric(1.0 if whole_at_once else progress)
        self.pruner.towards(goal, blend)
        self._adjust_dropout()

    def _adjust_dropout(self) -> None:
        if self.dropouts:
            pruner = self.pruner
            left = [now / first for now, first in zip(pruner.densities(), pruner.start, strict=True)]
            names = [weight.name for weight in pruner.weights]
            share = {name: (part, size) for name, part, size in zip(names, left, pruner.sizes, strict=True)}
            for dropout in self.dropouts:
                dropout.adjust(share)

    def _train(self, epochs: float, on_step: Callable[[nn.Module, int, int], None] | None = None) -> None:
        if epochs > 0:
            rate = self.settings.learning_rate * self.context.training.learning_rate
            penalty = self._penalty if self.settings.l1 or self.settings.l2 else None
            settings = Finetuning(epochs=epochs, learning_rate=rate)
            self.context.finetune(self.pruner.model, settings, extra_loss=penalty, on_step=on_step)

    def _penalty(self, model: nn.Module) -> Tensor:
        terms = [
            self.settings.l1 * weight.parameter.abs().sum() + self.settings.l2 * weight.parameter.square().sum()
            for weight in self.pruner.weights
        ]
        return torch.stack(terms).sum()
