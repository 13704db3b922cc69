"""Which layers of a model can be replaced by others, at which sizes they run, and why the others cannot."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from featherweight.core.catalog import did_you_mean
from featherweight.core.context import Context
from featherweight.encodings.attach import encodings_of
from featherweight.errors import ConfigError, TechniqueError
from featherweight.techniques._selection import check_values
from featherweight.training.evaluate import evaluating

_READ_BY_PARENT = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))


@dataclass(frozen=True)
class Layer:
    """A layer that can be replaced: its path, the module, the model around it, and the shapes of its input and (first)
    output, batch and all, when the example runs through the model.
    """

    path: str
    module: nn.Module
    model: nn.Module
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """The layers that can be replaced, in the order in which they run, and for each other one why it cannot."""

    layers: tuple[Layer, ...]
    whole: dict[str, str]

    @property
    def by_path(self) -> dict[str, Layer]:
        """The layers by path."""
        return {layer.path: layer for layer in self.layers}


def find(model: nn.Module, context: Context, kinds: Sequence[type[nn.Module]], patterns: Sequence[str]) -> Found:
    """The layers of exactly these classes whose path fits a pattern (no pattern: all).

    A layer is left alone where something else than a call may depend on it: hooks, a subclass, weights shared with
    another layer, several places or calls, a parent that reads its weights.

    Raises: TechniqueError when there is none of these classes, for weights that are not finite, and for layers whose
    weights encodings hold; ConfigError for a pattern that fits none.
    """
    candidates = _candidates(model, kinds, patterns)
    whole = {path: reason for path, module in candidates.items() if (reason := _reason(model, path, module, kinds))}
    rest = {path: module for path, module in candidates.items() if path not in whole}
    calls = _watched(model, rest, context.example)
    for path in rest:
        if len(calls[path]) != 1:
            whole[path] = f"it is called {len(calls[path])} times" if calls[path] else "it is not called as a layer"
    layers = [Layer(path, rest[path], model, *calls[path][0]) for path in calls if path not in whole]
    _check_free(model, layers)
    for layer in layers:
        for name, parameter in layer.module.named_parameters():
            check_values(f"{layer.path}.{name}", parameter)
    return Found(tuple(layers), whole)


def _candidates(model: nn.Module, kinds: Sequence[type[nn.Module]], patterns: Sequence[str]) -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    every = {path: item for path, item in modules.items() if path and isinstance(item, tuple(kinds))}
    if not every:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TechniqueError(f"the model has none of the layers {names}", where=type(model).__name__)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in every):
            raise ConfigError(
                "fits no layer that can be factored", where="layers", value=pattern, fix=did_you_mean(pattern, every)
            )
    return {path: item for path, item in every.items() if not patterns or _fits(path, patterns)}


def _fits(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _reason(model: nn.Module, path: str, module: nn.Module, kinds: Sequence[type[nn.Module]]) -> str:
    """Why a layer must stay; empty when nothing speaks against replacing it."""
    if type(module) not in kinds:
        return f"it is a subclass: {type(module).__name__}"
    if any(getattr(module, name, None) for name in _HOOKS):
        return "it has hooks"
    if "forward" in vars(module):
        return "its forward was replaced"
    if any(is_lazy(parameter) for parameter in module.parameters()):
        return "its weights are not there yet"
    if sum(item is module for _, item in model.named_modules(remove_duplicate=False)) > 1:
        return "it stands in several places"
    counts = Counter(id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False))
    if any(counts[id(tensor)] > 1 for tensor in module.parameters()):
        return "its weights are tied to another layer's"
    if isinstance(model.get_submodule(path.rpartition(".")[0]), _READ_BY_PARENT):
        return "the module around it reads its weights"
    return ""


def _watched(
    model: nn.Module, modules: dict[str, nn.Module], example: tuple[Any, ...]
) -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """The shapes of input and output for each call of each module, in the order of their first calls."""
    seen: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}

    def watch(path: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if inputs and isinstance(inputs[0], Tensor) and isinstance(first, Tensor):
                seen.setdefault(path, []).append((tuple(inputs[0].shape), tuple(first.shape)))

        return hook

    with ExitStack() as stack, evaluating(model), torch.no_grad():
        for path, module in modules.items():
            stack.callback(module.register_forward_hook(watch(path)).remove)
        model(*example)
    return {**seen, **{path: [] for path in modules if path not in seen}}


def _check_free(model: nn.Module, layers: Sequence[Layer]) -> None:
    held = encodings_of(model)
    for layer in layers:
        for name, _ in layer.module.named_parameters():
            full = f"{layer.path}.{name}"
            if full in held:
                raise TechniqueError(
                    "an encoding holds this weight, and low rank would put others in its place",
                    where=full,
                    value=type(held[full]).__name__,
                    fix="Put low rank before the steps that prune, share or round weights (fold_norms: half: false).",
                )
