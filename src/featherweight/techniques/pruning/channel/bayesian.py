"""Removes the channels whose scale is noise under a sparse prior; what stays may be rounded to the bits it is worth.

C. Louizos, K. Ullrich, M. Welling 2017 (NIPS, "Bayesian compression for deep learning"). Training finds a posterior for
every weight and for a scale z of every channel (_posterior.py): the loss is the mean over examples plus KL / N, for N
training examples. A channel goes by log alpha = log of variance over squared mean of z (normal-Jeffreys prior) or by
-log of the mode of z (horseshoe): within the budget the largest, or all beyond a threshold of their group. Weights then
are posterior means. The variance of z * w~ says how many bits after the point a layer is worth.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError
from featherweight.graph.cells import Ids
from featherweight.graph.surgery import Anatomy, Group
from featherweight.numerics.horseshoe import exponent_bits, layer_bits, marginal_variance, rounded
from featherweight.techniques._encoded import mask_of
from featherweight.techniques.pruning._repair import repaired
from featherweight.techniques.pruning._structured import Structured, look, record_choice, take_out
from featherweight.techniques.pruning.channel._game import fold
from featherweight.techniques.pruning.channel._gates import Gates, gated
from featherweight.techniques.pruning.channel._posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class Bayesian(Structured):
    """Learns posteriors under group priors, removes channels that are noise, and tells how many bits weights need."""

    survey: ClassVar[str] = "[41] Louizos et al. 2017, Bayesian Compression for Deep Learning"
    relative: ClassVar[bool] = False
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "norm")

    scope: Literal["local", "global"] = "global"  # the same share of each group, or one ranking
    prior: Literal["jeffreys", "horseshoe"] = "jeffreys"  # of the scales
    spread: float = 1e-5  # scale of the half-Cauchy prior of all scales together (horseshoe), > 0
    by: Literal["budget", "threshold"] = "budget"  # what goes: the share `ratio`, or all beyond thresholds
    thresholds: tuple[float, ...] = ()  # of the groups in the order of the network, the last for the rest; (): by gaps
    posterior_epochs: float = 20.0  # of training with the prior, > 0
    posterior_rate: float = 1.0  # learning rate of that training (Adam), times the task's, > 0
    speed: float = 10.0  # how many times faster than weights log variances and log scales move, > 0
    warmup: float = 0.2  # share of that training in which the weight of the prior rises from 0 to 1, 0..1
    cap: float = 0.04  # the largest variance of a weight of the first layer, > 0
    rounding: bool = False  # round the weights of each layer to the bits that they are worth

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("spread", "posterior_epochs", "posterior_rate", "speed", "cap"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use more than 0.")
        if not 0 <= self.warmup <= 1:
            raise ConfigError("out of range", where="warmup", value=self.warmup, fix="Use 0 to 1.")
        if not all(map(math.isfinite, self.thresholds)):
            raise ConfigError("out of range", where="thresholds", value=self.thresholds, fix="Use finite numbers.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply. Records also "thresholds" and, by layer, "bits": [after the point, of the exponent].

        Raises: TechniqueError when no group of channels is made by convolutions, linear layers or norms.
        """
        if self.ratio == 0 and self.by == "budget":
            return model
        known = look(model, context, self.keep)
        groups = [group for group in gated(model, known, self.prunable(model, known)) if not _recurrent(model, group)]
        groups = groups or gated(model, known, groups)
        posterior, gates = self.trained(model, known, groups, context)
        noise = posterior.scores()
        settings, scores = self._ranked(noise, context)
        chosen = settings.choice(model, known, groups, scores, context)
        variances = variances_of(posterior, gates)
        changed = take_out(model, known, chosen)
        repaired(self.repair, model, changed, known, chosen.atoms, context)
        self.train(changed, context, self.epochs)
        kept = known.structure.kept(known.gone(chosen.atoms)) if len(chosen.atoms) else {}
        cut = {name: _cut(variance, kept.get(name, {})) for name, variance in variances.items()}
        self._note_bits(changed, cut, context)
        record_choice(context, known, groups, chosen)
        return changed

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """How little of each channel is noise, after training; the weights of `model` then are posterior means."""
        posterior, _ = self.trained(model, known, groups, context)
        return [-values for values in posterior.scores()]

    def trained(
        self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context
    ) -> tuple[Posterior, Gates]:
        """The posterior after training, with the gates of its scales; the weights of `model` are its means."""
        gates = Gates(model, known, groups)
        tensors = dict(model.named_parameters())
        kept = {name: mask_of(item, tensors[name]) for name, item in encodings_of(model).items() if name in tensors}
        posterior = Posterior(model, gates, self.prior, speed=self.speed, spread=self.spread, kept=kept)
        posterior.to(context.device)
        rate = self.posterior_rate * context.training.learning_rate
        settings = Finetuning(epochs=self.posterior_epochs, learning_rate=rate, optimizer="adam", weight_decay=0.0)

        def on_step(_: nn.Module, step: int, total: int) -> None:
            examples = total / self.posterior_epochs * context.training.batch_size  # up to a part of a batch
            posterior.weight = min(1.0, (step + 1) / max(1.0, self.warmup * total)) / examples
            posterior.random.manual_seed(context.generator("posterior", step).initial_seed())
            posterior.cap(self.cap)

        attach(posterior, {f"model.{name}": item for name, item in encodings_of(model).items()})
        with posterior.on():
            context.finetune(posterior, settings, extra_loss=posterior.extra_loss, on_step=on_step)
        fold(model, gates, [posterior.scale(number)[0].detach() for number in range(len(groups))])
        attach(model, encodings_of(model))  # training leaves values finer than they are stored
        return posterior, gates

    def _ranked(self, noise: Sequence[Tensor], context: Context) -> tuple[Structured, list[Tensor]]:
        """By what budget the lowest of which scores go."""
        if self.by == "budget":
            return self, [-values for values in noise]
        limits = [
            self.thresholds[min(n, len(self.thresholds) - 1)] if self.thresholds else gap(values)
            for n, values in enumerate(noise)
        ]
        context.record("thresholds", limits)
        scores = [limit - values for limit, values in zip(limits, noise, strict=True)]
        most = [len(item) - max(1, math.ceil(self.floor * len(item))) for item in scores]
        count = sum(min(int((item <= 0).sum()), top) for item, top in zip(scores, most, strict=True))
        settings = dataclasses.replace(self, ratio=count / sum(map(len, scores)), of="channels", scope="global")
        return settings, scores

    def _note_bits(self, model: nn.Module, variances: dict[str, Tensor], context: Context) -> None:
        """Records what layers are worth, and rounds them where asked."""
        tensors = dict(model.named_parameters())
        found, encodings = {}, {}
        taken = encodings_of(model)
        for name, variance in variances.items():
            if name not in tensors or not name.endswith("weight"):
                continue
            values = tensors[name].detach()
            bits = layer_bits(variance, values != 0)
            found[name] = [bits, exponent_bits(float(values.abs().max()))]
            if self.rounding and name not in taken:
                step = torch.tensor([2.0**-bits], dtype=values.dtype, device=values.device)
                encodings[name] = Uniform.of(rounded(values, bits), step)
        attach(model, encodings)
        context.record("bits", found)


@torch.no_grad()
def variances_of(posterior: Posterior, gates: Gates) -> dict[str, Tensor]:
    """The posterior variance of each random tensor of the network as it is after `fold`: that of z * w~.

    Where a norm stands between a layer and its scale, the norm has the scale and the weight its own variance.
    """
    tensors = dict(posterior.model.named_parameters())
    found = {name: posterior.variance(name) for name in tensors if posterior.has(name)}
    means = {name: tensors[name].detach().clone() for name in found}
    for number, group in enumerate(gates.groups):
        mean, variance = posterior.scale(number)
        for slot in group.slots:
            path = slot.tensor.rpartition(".")[0]
            if slot.tensor not in found or slot.role == "in" or number not in gates.modules.get(path, ()):
                continue
            shape = [1] * found[slot.tensor].dim()
            shape[slot.dim] = -1
            index = torch.from_numpy(slot.index)
            z, v = torch.ones(means[slot.tensor].shape[slot.dim]), torch.zeros(means[slot.tensor].shape[slot.dim])
            z[index], v[index] = mean.cpu()[:, None].expand(index.shape), variance.cpu()[:, None].expand(index.shape)
            z, v = z.view(shape).to(mean), v.view(shape).to(mean)
            own = (means[slot.tensor] / z, found[slot.tensor])  # `fold` has multiplied the mean
            found[slot.tensor] = marginal_variance((z, v), own)
    return found


def gap(values: Tensor) -> float:
    """The middle of the widest gap between neighbours among the values, which stand apart where channels are noise."""
    ordered = values.sort().values
    place = int(ordered.diff().argmax())
    return float((ordered[place] + ordered[place + 1]) / 2)


def _cut(values: Tensor, kept: dict[int, Ids]) -> Tensor:
    for dim, indices in kept.items():
        values = values.index_select(dim, torch.as_tensor(indices, device=values.device))
    return values


def _recurrent(model: nn.Module, group: Group) -> bool:
    modules = dict(model.named_modules())
    paths = {slot.tensor.rpartition(".")[0] for slot in group.slots if slot.role == "out"}
    return any(isinstance(modules.get(path), nn.RNNBase) for path in paths)
