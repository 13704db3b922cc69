"""What a recipe would do to a model, without doing it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from featherweight.core import config
from featherweight.errors import UsageError
from featherweight.recipes.recipe import Recipe, Step

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (_ConvNd,),
    "linear": (nn.Linear, nn.Bilinear),
    "recurrent": (nn.RNNBase, nn.RNNCellBase),
    "embedding": (nn.Embedding, nn.EmbeddingBag),
    "norm": (_NormBase, nn.LayerNorm, nn.GroupNorm),
}
"""The kinds of layers that techniques name in `applies_to`; a module of another class has none."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step as it would be done.

    `tensors` are the names of the parameters that it may change: those that its setting `tensors` names by pattern,
    else those of the kinds of layers that the technique applies to; all where it does not say. `weights` is how many
    numbers they hold.
    """

    index: int
    technique: str
    settings: dict[str, Any]
    tensors: tuple[str, ...]
    weights: int
    max_drop: float | None
    required: bool


def plan(recipe: Recipe, model: nn.Module) -> tuple[PlannedStep, ...]:
    """The steps of the recipe on this model; nothing is changed and no data is read.

    Raises: UsageError when a step finds nothing in the model that it applies to.
    """
    return tuple(_planned(index, step, model) for index, step in enumerate(recipe.steps))


def _planned(index: int, step: Step, model: nn.Module) -> PlannedStep:
    kinds, patterns = type(step.settings).applies_to, tuple(getattr(step.settings, "tensors", ()))
    named = dict(model.named_parameters())
    chosen = [name for name in named if _chosen(name, model, kinds, patterns)]
    if not chosen:
        raise UsageError(
            "the step finds nothing to work on in this model",
            where=f"step {index + 1} ({step.use})",
            value=list(patterns) or list(kinds),
            fix=f"The model has {', '.join(sorted(_classes(model)))}. Leave the step out or name other tensors.",
        )
    return PlannedStep(
        index=index,
        technique=step.use,
        settings=config.to_dict(step.settings),
        tensors=tuple(chosen),
        weights=sum(named[name].numel() for name in chosen),
        max_drop=step.max_drop,
        required=step.required,
    )


def _chosen(name: str, model: nn.Module, kinds: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    layer, _, leaf = name.rpartition(".")
    if patterns:
        return any(fnmatchcase(name, pattern) or fnmatchcase(layer, pattern) for pattern in patterns)
    known = tuple(cls for kind in kinds for cls in KINDS.get(kind, ()))
    if not known:
        return True
    module = model.get_submodule(layer)
    if type(module).forward is not nn.Module.forward and type(module).__module__.startswith("torch."):
        return isinstance(module, known) and leaf.startswith("weight")
    return not leaf.startswith("bias")  # weights that some module of the user's, or a bare checkpoint, holds itself


def _classes(model: nn.Module) -> Iterator[str]:
    return (type(module).__name__ for module in {type(one): one for one in model.modules()}.values())
