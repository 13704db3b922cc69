"""Rounds weights to whole numbers of steps, with the bits in mind that a coder will ask for them.

Survey: bits precision. Sources: Choi et al. 2017 (ICLR, "Towards the limit of network quantization"): one price of a
bit for all tensors, errors weighed by the curvature of the loss; ISO/IEC 15938-17 (NNC): rate-distortion optimised
rounding and dependent quantization; Frantar et al. 2023 (ICLR, "GPTQ"): later weights make up for the errors of
earlier ones; Nagel et al. 2019 (ICCV, "Data-free quantization"): correction of the mean.

A tensor whose error counts h a squared unit gets the step at which price = h step^2 ln 2 / 6, see
numerics/rounding.py. `noise` is the root mean square error of such steps over that of the weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import coded_bytes
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError
from featherweight.numerics.allocation import price_for
from featherweight.numerics.feedback import Feedback, shrunk
from featherweight.numerics.rounding import BALANCE
from featherweight.techniques._selection import WEIGHTS, Kind, Weight, check_values, named, tensors_of
from featherweight.techniques.base import PerTensor
from featherweight.techniques.precision.low_bit._plan import Method, Target, as_matrix, encoded, steps_of_rows
from featherweight.techniques.precision.low_bit._sensitivity import Sensitivity, measured

_KINDS: tuple[Kind, ...] = (*WEIGHTS, "embedding")
_TRIES = 5  # times that a budget is aimed at anew, after the size that was met
_WORTH = 4  # samples that the many places of one example stand for: they resemble each other
_MOST = 64.0  # times that places together are taken to count as much as apart
_USUAL = 1 << 16  # weights of a tensor whose noise is just `noise` where sensitivity is "energy"
_LARGEST = 20 * _USUAL  # weights of a tensor from which on its noise grows no more: no larger one was tried
_LEAST = 1e-4  # importance of a weight at least, relative to the mean: no weight is for nothing


@dataclass(frozen=True, kw_only=True)
class RateDistortion(PerTensor):
    """Rounds weights to a uniform grid so that error and coded size are in balance; biases and norms finely.

    Where the error hurts is told by `sensitivity`: "energy" holds that equal relative errors of tensors hurt alike, and
    needs no data; "fisher" measures the curvature of the loss for each weight, "hessian" for each layer's output, with
    feedback from weight to weight; both need some hundred examples, but no labels. The size is that of the file with
    the smallest coders.

    The strength is "noise": a guard that finds the step too costly lowers it.
    """

    strength: ClassVar[str | None] = "noise"
    gentle: ClassVar[float] = 0.002
    survey: ClassVar[str] = "bits precision; ISO/IEC 15938-17, Choi et al. 2017, GPTQ (Frantar et al. 2023)"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "embedding", "biases and norms, finely")

    # rms error of plain rounding over the rms of the weights, 0..1, where no budget is given; with data in the
    # geometric mean over all weights,
    noise: float = 0.06  # without data for a tensor of 65,536 weights, times sqrt(n / 65536) for one of n, 4.5 at most
    budget_bytes: int | None = None  # of all tensors that the step takes, coded; instead of noise
    ratio: float | None = None  # of their bytes as they are and coded; another way to say the budget, > 1
    sensitivity: Literal["energy", "fisher", "hessian"] = "energy"  # where errors hurt
    dependent: bool = False  # on the trellis of NNC: less error, slower
    rounding: float = 1.0  # how hard bits press on rounding; 0: to the nearest, 1: in balance with the error
    vectors: float = 0.002  # noise of biases, norms and other small tensors, 0..1; 0: they stay as they are
    rows: float = 0.0  # steps of rows go with the rows' sizes to this power, 0..1; 0: one step for the tensor
    correction: bool = True  # of the mean of each layer's output, in its bias or batch norm; where data is used
    examples: int = 256  # for calibration, >= 1; fewer where there are no more
    tensors: tuple[str, ...] = ()  # patterns of names; empty: all weights, and the vectors

    def __post_init__(self) -> None:
        for name in ("noise", "vectors"):
            value: float = getattr(self, name)
            if not (0 <= value < 1 and (value > 0 or name == "vectors")):
                raise ConfigError("out of range", where=name, value=value, fix="Use a number above 0 and below 1.")
        if not 0 <= self.rows <= 1:
            raise ConfigError("out of range", where="rows", value=self.rows, fix="Use a number from 0 to 1.")
        if not 0 <= self.rounding <= 4:
            raise ConfigError("out of range", where="rounding", value=self.rounding, fix="Use a number from 0 to 4.")
        if self.budget_bytes is not None and self.ratio is not None:
            raise ConfigError("says the budget a second time", where="ratio", value=self.ratio, fix="Give one of them.")
        if (self.budget_bytes is not None and self.budget_bytes < 1) or (self.ratio is not None and not self.ratio > 1):
            asked = self.ratio if self.budget_bytes is None else self.budget_bytes
            raise ConfigError("no such budget", where="budget_bytes, ratio", value=asked, fix="Use more than 1.")
        if self.examples < 1:
            raise ConfigError("out of range", where="examples", value=self.examples, fix="Use a number from 1.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The quantized model. Records "bits": {tensor: coded bits a weight}, and "bytes": all of them together.

        Raises: TechniqueError for a model without weights, weights that are not finite, a budget that no step meets,
        or calibration examples that are missing; ConfigError for a pattern that fits nothing.
        """
        weights, vectors = self._chosen(model)
        for item in (*weights, *vectors):
            check_values(item.name, item.parameter)
        present = encodings_of(model)
        sensitivity = self._measured(model, context)
        targets = [self._target(item, present.get(item.name), sensitivity) for item in weights]
        originals = {item.name: item.parameter.detach().clone() for item in weights}
        fine = {item.name: self._vector(item.name, item.parameter) for item in vectors}
        made: dict[str, Encoding] = dict(self._all_encoded(targets, fine))
        attach(model, made)
        if sensitivity is not None and self.correction:
            _correct(model, originals, sensitivity)
            made |= {item.name: self._vector(item.name, item.parameter) for item in vectors}
        else:
            made |= fine
        attach(model, made)
        sizes = {name: coded_bytes(encoding) for name, encoding in made.items()}
        bits = {name: 8 * size / max(math.prod(made[name].shape), 1) for name, size in sizes.items()}
        context.record("bits", {name: round(value, 3) for name, value in bits.items()})
        context.record("bytes", sum(sizes.values()))
        return model

    def needs_model(self) -> str | None:
        """See PerTensor: with data, or with a budget that tensors share."""
        if self.sensitivity != "energy":
            return f"sensitivity {self.sensitivity!r} is measured with data"
        return None if self.budget_bytes is None and self.ratio is None else "the tensors share a budget"

    @property
    def working_bytes(self) -> int:
        """See PerTensor: symbols and what they are coded as, unless the weights are worked on as floats."""
        return 16 if self._method.by_size and not self.rows else 64

    def names(self, model: nn.Module) -> tuple[str, ...]:
        """See PerTensor."""
        weights, vectors = self._chosen(model)
        return tuple(item.name for item in (*weights, *vectors))

    def encode(self, name: str, weight: Tensor, encoding: Encoding | None) -> Encoding | None:
        """See PerTensor."""
        check_values(name, weight)
        if not _is_weight(weight) and not self.tensors:
            return self._vector(name, weight)
        target = self._plain(name, weight, encoding)
        return encoded(target, self._price([target]), self._method)

    # -----------------------------------------------------------------------------------------------------------------

    @property
    def _method(self) -> Method:
        return Method(self.dependent, self.rounding)

    def _chosen(self, model: nn.Module) -> tuple[list[Weight], list[Weight]]:
        """The tensors that are rounded coarsely, and those that are rounded finely."""
        weights = named(model, self.tensors, _KINDS)
        if self.tensors or not self.vectors:
            return weights, []
        taken = {item.name for item in weights}
        rest = [item for item in tensors_of(model) if item.name not in taken and item.parameter.numel()]
        return weights, [item for item in rest if item.parameter.element_size() > 1]

    def _measured(self, model: nn.Module, context: Context) -> Sensitivity | None:
        if self.sensitivity == "energy":
            return None
        batches = context.batches("calibration", limit=self.examples)
        inputs = self.sensitivity == "hessian" or self.correction
        return measured(model, batches, context.generator("answers"), inputs=inputs)

    def _plain(self, name: str, weight: Tensor, encoding: Encoding | None) -> Target:
        """What the weights alone tell."""
        target = Target(name, weight, mask=_mask(encoding), rows=steps_of_rows(weight, self.rows))
        target.scale = _alike(target)
        return target

    def _target(self, item: Weight, encoding: Encoding | None, sensitivity: Sensitivity | None) -> Target:
        name, target = item.name, self._plain(item.name, item.parameter.detach(), encoding)
        if sensitivity is None:
            return target
        if self.sensitivity == "hessian" and name in sensitivity.outputs and target.mask is None:
            moments, means = sensitivity.moments[name].cpu(), sensitivity.means[name].cpu()
            squares = _squares(target)
            outputs = sensitivity.outputs[name].cpu() * squares
            samples = min(sensitivity.places[name], _WORTH * sensitivity.examples)
            target.feedback = Feedback.of(shrunk(moments, means, samples))
            alone = (target.feedback.scale.repeat_interleave(_rows(target)) * outputs).mean()
            target.scale = float(alone) * _together(name, sensitivity, squares) + 1e-30
        elif name in sensitivity.fisher:
            fisher = sensitivity.fisher[name].cpu().float().reshape(target.matrix.shape) * _squares(target)[:, None]
            target.scale = float(fisher.mean()) + 1e-30
            target.importance = (fisher / target.scale).clamp(min=_LEAST).numpy()
        return target

    def _vector(self, name: str, weight: Tensor) -> Encoding:
        """A bias, norm or other small tensor, with fine steps; variances in 16 bits, as small ones matter as much."""
        weight = weight.detach().clone()
        if weight.itemsize <= 2 or name.endswith("running_var"):
            return Dense(weight, torch.bfloat16 if weight.itemsize > 2 else weight.dtype)
        target = Target(name, weight, scale=_energy(weight))
        return encoded(target, 12 * self.vectors**2 * BALANCE, Method(rounding=0.0))

    def _price(self, targets: Sequence[Target]) -> float:
        """The price at which the noise is what the settings say: see `noise`."""
        if self.sensitivity == "energy":
            return 12 * self.noise**2 * BALANCE
        total = sum(target.weight.numel() for target in targets)
        logs = sum(target.weight.numel() * math.log(target.scale / _energy(target.matrix)) for target in targets)
        return 12 * self.noise**2 * BALANCE * math.exp(logs / total)

    def _all_encoded(self, targets: Sequence[Target], fine: dict[str, Encoding]) -> dict[str, Uniform]:
        price = self._price(targets)
        if self.budget_bytes is None and self.ratio is None:
            return {target.name: encoded(target, price, self._method) for target in targets}
        weights = sum(target.weight.numel() for target in targets)
        others = sum(math.prod(encoding.shape) for encoding in fine.values())
        whole = self.budget_bytes if self.ratio is None else int(4 * (weights + others) / self.ratio)
        budget = aim = (whole or 0) - sum(coded_bytes(encoding) for encoding in fine.values())
        plain = [replace(item, feedback=None) for item in targets]
        quick = Method(rounding=0.0)
        for _ in range(_TRIES):
            price = price_for(aim, lambda trial: _size(plain, trial, quick), price, weights)
            made = {target.name: encoded(target, price, self._method) for target in targets}
            size = sum(coded_bytes(encoding) for encoding in made.values())
            if 0.99 * budget <= size <= budget:
                break
            aim = int(aim * min(budget / size, 1.5) * 0.998)
        return made


def _size(targets: Sequence[Target], price: float, method: Method) -> float:
    """About how many bytes the targets take at this price, without feedback or trellis."""
    total = 0.0
    for target in targets:
        levels = encoded(target, price, method).levels
        total += method.model.total(levels.reshape(target.matrix.shape).numpy()) / 8
    return total


def _correct(model: nn.Module, originals: dict[str, Tensor], sensitivity: Sensitivity) -> None:
    """Takes what rounding adds to the mean of each output off again, in the layer's bias or the batch norm behind."""
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    with torch.no_grad():
        for name, weight in originals.items():
            mean = sensitivity.means.get(name)
            if mean is None:
                continue
            off = (parameters[name] - weight).reshape(len(mean), -1, mean.shape[1]).float()
            shift = (off @ mean.to(off)[:, :, None]).reshape(-1)
            layer = modules[name.rpartition(".")[0]]
            if isinstance(layer.bias, Tensor):
                layer.bias -= shift.to(layer.bias)
            elif name in sensitivity.norms:
                norm = modules[sensitivity.norms[name]]
                norm.running_mean += shift.to(norm.running_mean)


def _together(name: str, sensitivity: Sensitivity, squares: Tensor) -> float:
    """How much more a layer's errors matter than they would if each place of its output felt them on its own.

    The same weight errs at all places of a convolution at once, and the loss feels their sum: what the curvature by
    weight is, over what inputs and outputs apart make of it, both weighed with the `squares` of the rows' steps.
    Between 0.6 and 16 in EfficientNet-lite0, 1 for its last layer, which has one place.
    """
    energy = torch.diagonal(sensitivity.moments[name].cpu(), dim1=1, dim2=2).mean(dim=1)
    outputs = sensitivity.outputs[name].cpu() * squares
    apart = float((energy * outputs.reshape(len(energy), -1).mean(dim=1)).mean())
    if name not in sensitivity.fisher or not apart > 0:
        return 1.0
    fisher = as_matrix(sensitivity.fisher[name]).mean(dim=1) * squares
    return min(max(float(fisher.mean()) / apart, 1 / _MOST), _MOST)


def _is_weight(weight: Tensor) -> bool:
    """Whether a tensor of a bare checkpoint is one of the weights; see `_selection`."""
    return sum(size > 1 for size in weight.shape) > 1


def _energy(weight: Tensor) -> float:
    """One over the mean square, what a squared error costs relative to the tensor's energy; 1 for zeros."""
    energy = float(weight.detach().double().square().mean()) if weight.numel() else 0.0
    return 1 / energy if energy > 0 else 1.0


def _alike(target: Target) -> float:
    """What a squared error costs where equal relative errors of all tensors hurt alike: one over their sum of squares.

    Bits are counted by weight, the harm by tensor; so the more weights share it, the more noise each may have, up to
    4.5 times as much.
    """
    energy, weights = target.known.energy, max(target.weight.numel(), 1)
    return _USUAL / (energy if energy > 0 else weights) * max(weights / _LARGEST, 1.0)


def _mask(encoding: Encoding | None) -> Tensor | None:
    return encoding.mask if isinstance(encoding, Sparse) else None


def _squares(target: Target) -> Tensor:
    """What a squared error in units of a row's step counts in those of the tensor's, (rows,)."""
    return torch.ones(len(target.matrix)) if target.rows is None else target.rows.float().square()


def _rows(target: Target) -> int:
    groups = 1 if target.feedback is None else len(target.feedback.scale)
    return len(target.matrix) // groups
