"""Which tensors of a model a technique works on, and settings that differ from tensor to tensor.

A pattern is a shell-style pattern (`*`, `?`, `[ab]`) that is compared with the name of the parameter
("features.0.weight") and with the name of its layer ("features.0").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from featherweight.core.catalog import did_you_mean
from featherweight.encodings.dense import Dense
from featherweight.errors import ConfigError, TechniqueError

Kind = Literal["conv", "linear", "recurrent", "embedding", "norm", "bias", "other"]
PerTensor = float | Mapping[str, float]
"""One number for every tensor, or one by pattern; of several patterns that match the first counts."""

WEIGHTS: tuple[Kind, ...] = ("conv", "linear", "recurrent")
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Weight:
    """One tensor of a model: its name, the name of its layer, its kind, and the parameter (or buffer) itself."""

    name: str
    layer: str
    kind: Kind
    parameter: Tensor

    def matches(self, pattern: str) -> bool:
        """Whether the pattern fits the name of the parameter or of its layer."""
        return fnmatchcase(self.name, pattern) or fnmatchcase(self.layer, pattern)


def parameters_of(model: nn.Module) -> list[Weight]:
    """All floating-point parameters in the order of the model; tied ones once, under their first name."""
    modules = dict(model.named_modules())
    found = []
    for name, parameter in model.named_parameters():
        if parameter.dtype.is_floating_point:
            layer, _, stem = name.rpartition(".")
            found.append(Weight(name, layer, _kind(modules[layer], stem, parameter), parameter))
    return found


def tensors_of(model: nn.Module) -> list[Weight]:
    """All floating-point parameters, then the floating-point buffers that `state_dict` keeps."""
    kept = model.state_dict().keys()
    buffers = [
        Weight(name, name.rpartition(".")[0], "other", buffer)
        for name, buffer in model.named_buffers()
        if name in kept and buffer.dtype.is_floating_point
    ]
    return parameters_of(model) + buffers


def select(model: nn.Module, patterns: Sequence[str], kinds: Sequence[Kind]) -> list[Weight]:
    """The parameters that fit a pattern, or those of the given kinds when there is no pattern.

    Raises: TechniqueError when the model has no parameter of these kinds, or one that is selected is empty or holds
    NaN or infinity; ConfigError when a pattern fits nothing.
    """
    chosen = named(model, patterns, kinds)
    for weight in chosen:
        check_values(weight.name, weight.parameter)
    return chosen


def named(model: nn.Module, patterns: Sequence[str], kinds: Sequence[Kind]) -> list[Weight]:
    """What `select` gives, found by names and shapes alone: the parameters may be without values.

    Raises: as `select`, for names and shapes.
    """
    everything = parameters_of(model)
    if patterns:
        check_patterns(patterns, everything)
        chosen = [weight for weight in everything if any(weight.matches(pattern) for pattern in patterns)]
    else:
        chosen = [weight for weight in everything if weight.kind in kinds]
    if not chosen:
        raise TechniqueError(
            f"the model has no {', '.join(kinds)} weights",
            where=type(model).__name__,
            value=[weight.name for weight in everything],
            fix="Name the tensors with patterns, or leave the step out.",
        )
    for weight in chosen:
        _check_size(weight.name, weight.parameter)
    return chosen


def check_values(name: str, weight: Tensor) -> None:
    """Raises: TechniqueError for a weight that is not finite."""
    values = weight.detach()
    if not (Dense(values).finite if values.is_floating_point() else torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise TechniqueError(
            "weights are NaN or infinite", where=name, value=bad, fix="Repair or retrain the network first."
        )


def check_patterns(patterns: Sequence[str], weights: Sequence[Weight]) -> None:
    """Raises: ConfigError for the first pattern that fits none of the weights, with the nearest names."""
    for pattern in patterns:
        if not any(weight.matches(pattern) for weight in weights):
            known = [weight.name for weight in weights]
            layers = [weight.layer for weight in weights if weight.layer]
            raise ConfigError("fits no tensor", where="pattern", value=pattern, fix=_nearest(pattern, layers, known))


def value_for(weight: Weight, setting: PerTensor) -> float | None:
    """The number for this weight, None when the setting is by pattern and none fits."""
    if not isinstance(setting, Mapping):
        return float(setting)
    return next((float(value) for pattern, value in setting.items() if weight.matches(pattern)), None)


def with_values(weights: Sequence[Weight], setting: PerTensor) -> list[tuple[Weight, float]]:
    """The weights that the setting speaks of, each with its number.

    Raises: ConfigError when a pattern fits nothing.
    """
    if isinstance(setting, Mapping):
        check_patterns(list(setting), weights)
    pairs = ((weight, value_for(weight, setting)) for weight in weights)
    return [(weight, value) for weight, value in pairs if value is not None]


def check_setting(name: str, setting: PerTensor, allowed: Callable[[float], bool], expected: str) -> None:
    """Raises: ConfigError for a number that is not allowed, or for a setting by pattern without any pattern."""
    if isinstance(setting, Mapping) and not setting:
        raise ConfigError("names no tensor", where=name, value=dict(setting), fix="Give a number or {pattern: number}.")
    values = setting.items() if isinstance(setting, Mapping) else [("", setting)]
    for pattern, value in values:
        if not allowed(value):
            where = f"{name}[{pattern!r}]" if pattern else name
            raise ConfigError("out of range", where=where, value=value, fix=f"Use {expected}.")


def _kind(module: nn.Module, stem: str, parameter: Tensor) -> Kind:
    if isinstance(module, _NORMS):
        return "norm"
    if parameter.dim() < 2:
        return "bias" if "bias" in stem else "other"
    if isinstance(module, _ConvNd):
        return "conv"
    if isinstance(module, _RECURRENT):
        return "recurrent"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(module, nn.Linear | nn.Bilinear | nn.MultiheadAttention):
        return "linear"
    return _kind_by_shape(parameter)


def _kind_by_shape(parameter: Tensor) -> Kind:
    """For modules of the user and checkpoints without modules: what has two axes or more is a weight.

    Axes of size one do not count, so that a class token (1, 1, n) or a scale (1, n, 1, 1) is none.
    """
    axes = sum(size > 1 for size in parameter.shape)
    if axes < 2:
        return "other"
    return "linear" if parameter.dim() == 2 else "conv"


def _check_size(name: str, values: Tensor) -> None:
    if values.numel() == 0:
        raise TechniqueError("the tensor holds no weights", where=name, value=tuple(values.shape))


def _nearest(pattern: str, layers: list[str], names: list[str]) -> str:
    plain = pattern.strip("*?")
    hint = did_you_mean(plain, list(dict.fromkeys(layers)))
    return hint if hint.startswith("Did") else did_you_mean(plain, names)
