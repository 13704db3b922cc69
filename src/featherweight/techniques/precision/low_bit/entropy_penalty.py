"""Trains a network to be small in the file: the loss counts the bits that an entropy coder takes for the weights.

Oktay, Ballé, Singh and Shrivastava 2020 (ICLR, "Scalable model compression by entropy penalized reparameterization"):
weights are whole numbers of steps throughout training, loss + penalty x bits is minimised over latents and steps. Here
the bits are those of a coder that adapts to busy rows and columns (`_entropy_prices.py`), asked anew every few steps,
where the paper learns one distribution for each tensor.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings import payload
from featherweight.encodings.attach import attach, detach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError, TechniqueError
from featherweight.techniques._encoded import survivors_of
from featherweight.techniques._selection import WEIGHTS, Kind, PerTensor, Weight, check_setting, select, with_values
from featherweight.techniques.base import Technique
from featherweight.techniques.precision.low_bit._entropy_latent import Latent, Penalised
from featherweight.techniques.precision.low_bit._entropy_narrow import Narrowing

_KINDS: tuple[Kind, ...] = (*WEIGHTS, "embedding", "bias")
_LOOKS = 400  # at the levels in one training: more change nothing, fewer leave the prices behind
_SETTLED = 0.5  # of the ramp: before, a row may be empty only because the first step was coarse


@dataclass(frozen=True, kw_only=True)
class EntropyPenalty(Technique):
    """Trains weights that are whole numbers of a learned step, with a penalty on the bits that they take in the file.

    Zeros, empty rows and empty columns are the cheapest, so the network is pruned on the way; what an earlier step
    pruned stays pruned. With `target` the penalty is steered so that the bytes shrink to about so many along `ramp`.
    The more weights, the smaller the penalty that does the same: 1e-5 for thousands kept, 1e-6 for tens of thousands.

    The strength is "penalty": a guard that finds the step too costly lowers it towards 0.
    """

    strength: ClassVar[str | None] = "penalty"
    gentle: ClassVar[float] = 0.0
    survey: ClassVar[str] = "Oktay et al. 2020, Scalable Model Compression by Entropy Penalized Reparameterization"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "embedding", "any tensor (by pattern)")

    penalty: float = 3e-6  # of one bit, in the unit of the loss, >= 0; with `target`: where steering starts, > 0
    target: int = 0  # bytes that the tensors are to take together, >= 0; 0: the penalty stays as it is
    step: PerTensor = 1.5  # at the start, in root mean squares of the tensor's weights, > 0; or {pattern: step}
    epochs: float = 10.0  # of training, >= 0; 0 rounds without data
    learning_rate: float = 1.0  # times the task's, > 0; falls to 0 by a cosine
    ramp: float = 0.3  # share of the training over which the penalty grows, or the bytes shrink to the target, 0..1
    average: float = 0.0  # decay of an average of latents and steps that replaces them at the end, 0..1; 0: off
    shrink: bool = False  # take dead units out of the model, where its code does not fix the sizes of its layers
    tensors: tuple[str, ...] = ()  # patterns of names; empty: all weights and biases, norms aside

    def __post_init__(self) -> None:
        check_setting("step", self.step, lambda value: 0 < value < math.inf, "a finite number above 0")
        checks = (
            (
                "penalty",
                0 <= self.penalty < math.inf and (self.penalty > 0 or not self.target),
                "a finite number from 0",
            ),
            ("target", self.target >= 0, "a number of bytes from 0"),
            ("epochs", 0 <= self.epochs < math.inf, "a finite number from 0"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a finite number above 0"),
            ("ramp", 0 <= self.ramp <= 1, "a share from 0 to 1"),
            ("average", 0 <= self.average < 1, "a decay from 0 to below 1"),
        )
        for name, allowed, expected in checks:
            if not allowed:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix=f"Use {expected}.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with a `Uniform` on every chosen tensor, alone or inside a `Sparse`, as takes fewer bytes.

        Records "estimated_bytes" and "step" (by tensor) and "penalty" (as it was at the end).

        Raises: TechniqueError when there is nothing to train, values are not finite, two layers share a chosen tensor,
        or a tensor is kept in a way that has no values; ConfigError for a pattern that fits nothing.
        """
        chosen = with_values(select(model, self.tensors, _KINDS), self.step)
        _refuse_shared(model, [weight for weight, _ in chosen])
        present = encodings_of(model)
        latents = {weight.name: _latent(weight, step, present.get(weight.name)) for weight, step in chosen}
        names = set(latents) if self.epochs or self.shrink else set()  # without either, nothing asks what has died
        rounded = Penalised(model, latents, self.penalty, Narrowing.of(model, names, context))
        try:
            if self.epochs > 0:
                self._train(rounded, context)
            rounded.bury()
        finally:
            rounded.release()
        context.record("penalty", float(rounded.price))
        context.record("estimated_bytes", {name: round(latent.refit() / 8, 1) for name, latent in latents.items()})
        context.record("step", {name: float(latent.step) for name, latent in latents.items()})
        levels = {name: latent.levels for name, latent in latents.items()}
        detach(model, set(latents))
        if self.shrink:
            rounded.narrowing.take_out(model)
            levels = rounded.narrowing.narrow(levels)
        fresh = {name: _encoding(levels[name], latent.step) for name, latent in latents.items()}
        attach(model, encodings_of(model) | fresh)  # all of them: training leaves values finer than they are stored
        return model

    def _train(self, rounded: Penalised, context: Context) -> None:
        rate = self.learning_rate * context.training.learning_rate
        # weight decay would pull latents across borders of rounding that the loss knows nothing of
        settings = Finetuning(epochs=self.epochs, learning_rate=rate, weight_decay=0.0, average=self.average)
        context.finetune(rounded, settings, extra_loss=_cost, on_step=self._look)

    def _look(self, rounded: nn.Module, step: int, total: int) -> None:
        """Called before every step: sets the penalty, and now and then looks at the levels."""
        rounded = _ours(rounded)
        grown = min(1.0, step / (self.ramp * total)) if self.ramp > 0 else 1.0
        if not self.target:
            rounded.price.fill_(self.penalty * grown)
        if step % max(1, total // _LOOKS):
            return
        bits = rounded.refit()
        if self.target:
            start = float(rounded.start)
            rounded.steer(bits, start * min(1.0, 8 * self.target / start) ** grown)
        if grown > _SETTLED:
            rounded.bury()


def _cost(rounded: nn.Module) -> Tensor:
    return _ours(rounded).cost()


def _ours(model: nn.Module) -> Penalised:
    """The model as what it is: the loop hands back what it was given."""
    if not isinstance(model, Penalised):
        raise TechniqueError("the training is of another model", value=type(model).__name__)
    return model


def _latent(weight: Weight, step: float, encoding: Encoding | None) -> Latent:
    """The latent of a tensor whose step begins at `step` root mean squares of the weights that are kept."""
    survivors = survivors_of(weight.name, encoding, weight.parameter)
    values = survivors.values.double()
    square = float(values.square().mean()) if values.numel() else 0.0
    unit = step * math.sqrt(square) if square > 0 else 1.0  # a tensor of zeros has no scale of its own
    return Latent(weight.parameter, unit, survivors.mask)


def _refuse_shared(model: nn.Module, chosen: list[Weight]) -> None:
    """A parameter under two names would be a latent in one layer and a weight in the other."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for weight in chosen:
        if len(names[id(weight.parameter)]) > 1:
            others = ", ".join(name for name in names[id(weight.parameter)] if name != weight.name)
            raise TechniqueError(
                f"is shared with {others}", where=weight.name, value=weight.kind, fix="Leave it out with a pattern."
            )


def _encoding(values: Tensor, size: Tensor) -> Encoding:
    """The levels alone, or the places of those that are not zero and their levels: what takes fewer bytes."""
    levels, step = values.to(torch.int32), Dense(size.reshape(1), torch.float16)
    kept = levels != 0
    found: list[Encoding] = [Uniform(levels, step), Sparse(kept, Uniform(levels[kept], step))]
    if not bool(kept.any()):
        found.append(Sparse(kept, Dense(size.new_zeros(0), torch.float16)))  # zeros alone need no step
    return min(found, key=_bytes_of)


def _bytes_of(encoding: Encoding) -> int:
    coded = payload.encode(encoding)
    return len(coded.data) + len(coded.spec)  # most numbers of a spec take one byte
