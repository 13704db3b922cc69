"""Puts modules in the places of others and notes that in the log of the model."""

from collections.abc import Mapping

import torch
from torch import nn

from featherweight.core.context import Context
from featherweight.errors import FeatherweightError, TechniqueError
from featherweight.graph.described import describe
from featherweight.graph.log import Log, Replacement, keep_log, log_of
from featherweight.training.evaluate import evaluating


def replace(model: nn.Module, modules: Mapping[str, nn.Module], context: Context) -> None:
    """Puts `modules` at their paths, in place, and adds the step to the model's log; nothing for no modules.

    Raises: TechniqueError, the model as it was, when it does not run with them.
    """
    if not modules:
        return
    step = Replacement(tuple((path, describe(module)) for path, module in modules.items()))
    old = {path: model.get_submodule(path) for path in modules}
    put(model, modules)
    try:
        with evaluating(model), torch.no_grad():
            model(*context.example)
    except (AttributeError, RuntimeError, TypeError, FeatherweightError) as error:
        put(model, old)
        raise TechniqueError(
            f"the model does not run with its layers replaced: {error}",
            value=sorted(modules),
            fix="It may read a layer's weight itself: leave that layer out with a pattern in `layers`.",
        ) from error
    keep_log(model, log_of(model) + Log((step,)))


def put(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Puts modules at their paths, and nothing else."""
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, module)
