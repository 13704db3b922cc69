"""Removes the channels that a compressor network learns to drop, while the network itself learns to do without them.

S. Yao et al. 2017 (SenSys, "DeepIoT: Compressing deep neural network structures for sensing systems with a
compressor-critic framework"). A compressor (_compressor.py) reads the weights of all layers and gives a keep
probability p for each channel. For each example z ~ Bernoulli(p) is drawn and the network, the critic, runs with a * z
(no division by p), with one z for all places of a map and all steps of a sequence. The critic descends its loss; the
compressor follows the score function: it learns from the losses alone, no gradient of theirs reaches p. A threshold
rises in steps, and what is below it is drawn with p / 2, until the share of channels below it is the ratio; then those
with the smallest p go, and p of the others, which the critic has learned with, becomes a part of their weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.errors import ConfigError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._repair import repaired
from featherweight.techniques.pruning._structured import Structured, look, record_choice, take_out
from featherweight.techniques.pruning.channel._compressor import Compressor
from featherweight.techniques.pruning.channel._game import Game, Rules, fold, matrix
from featherweight.techniques.pruning.channel._gates import Gates, gated


@dataclass(frozen=True, kw_only=True)
class CompressorCritic(Structured):
    """Learns keep probabilities for all channels by policy gradient, and removes the channels with the lowest ones."""

    survey: ClassVar[str] = "[36] Yao et al. 2017, DeepIoT: a Compressor-Critic Framework"
    relative: ClassVar[bool] = False
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "norm")

    scope: Literal["local", "global"] = "global"  # the same share of each group, or one ranking
    game_epochs: float = 20.0  # of training in which the compressor learns, > 0
    game_rate: float = 0.3  # learning rate of the critic in it, times the task's, > 0
    compressor_rate: float = 1e-3  # learning rate of the compressor (RMSProp), > 0
    width: int = 64  # hidden units of the compressor, >= 1
    start: float = 0.8  # keep probability at the start, above 0 and below 1
    recurrent_start: float = 0.5  # the same for units of recurrent layers
    threshold: float = 0.825  # the highest that the threshold of keep probabilities may rise to, 0..1
    stages: int = 33  # in which it rises, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("game_epochs", "game_rate", "compressor_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use more than 0.")
        for name in ("start", "recurrent_start"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use 0.5 or 0.8.")
        if not 0 <= self.threshold <= 1:
            raise ConfigError("out of range", where="threshold", value=self.threshold, fix="Use 0 to 1.")
        for name in ("width", "stages"):
            if getattr(self, name) < 1:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use at least 1.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply. Records also "threshold", where it ended.

        Raises: TechniqueError when no group of channels is made by layers that run by themselves.
        """
        if self.ratio == 0:
            return model
        known = look(model, context, self.keep)
        groups = gated(model, known, self.prunable(model, known))
        chosen = self.choice(model, known, groups, self.scores(model, known, groups, context), context)
        changed = take_out(model, known, chosen)
        repaired(self.repair, model, changed, known, chosen.atoms, context)
        self.train(changed, context, self.epochs)
        record_choice(context, known, groups, chosen)
        return changed

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """The keep probabilities that were learned; the weights of `model` then hold them."""
        gates = Gates(model, known, groups)
        game = self._game(model, gates, context)
        rate = self.game_rate * context.training.learning_rate
        settings = Finetuning(epochs=self.game_epochs, learning_rate=rate, final_learning_rate=rate)
        constraints = encodings_of(model)
        attach(game, {f"model.{name}": item for name, item in constraints.items()})
        with gates.on():
            context.finetune(game, settings, on_step=game.on_step, on_batch=game.on_batch)
        keep = game.keep()
        fold(model, gates, keep)
        attach(model, encodings_of(model))  # training leaves values finer than they are stored
        context.record("threshold", float(game.threshold))
        return [values.double().cpu() for values in keep]

    def _game(self, model: nn.Module, gates: Gates, context: Context) -> Game:
        rules = Rules(ratio=self.ratio, threshold=self.threshold, stages=self.stages, rate=self.compressor_rate)
        tensors = dict(model.named_parameters(remove_duplicate=False))
        sizes = [matrix(tensors, group).shape for group in gates.groups]
        shapes = [(rows, columns) for rows, columns in sizes]
        starts = [self.recurrent_start if gates.recurrent(n) else self.start for n in range(len(shapes))]
        compressor = Compressor(shapes, starts, self.width, context.generator("compressor"))
        return Game(model, gates, compressor.to(context.device), rules, context).to(context.device)
