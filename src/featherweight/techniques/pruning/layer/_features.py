"""Repair of a network that lost blocks, by its own features: no labels.

The modules before and behind each gap are trained until what leaves the one behind is what left it in the whole
network. Source: A. Romero et al. 2015 (ICLR, "FitNets: hints for thin deep nets"), equation 3, for one hint a gap; the
error is counted over the variance of the features, so that gaps compare.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.core.examples import Batch
from featherweight.training.enforce import Enforcer
from featherweight.training.schedules import cosine


@dataclass(frozen=True)
class FeatureRepair:
    """How long: `steps` of Adam for each gap, from `rate` down to 0 by a cosine."""

    steps: int
    rate: float

    def __call__(
        self, before: nn.Module, after: nn.Module, removed: Sequence[str], batches: Sequence[Batch], context: Context
    ) -> dict[str, list[float]]:
        """Changes the weights of `after`, from which the modules `removed` are gone, in place.

        Gives for each gap the relative squared error of its features before and after, on the last quarter of the
        batches, which is not trained on; a gap keeps its weights where that did not fall.
        """
        count = max(1, len(batches) // 4)
        shown, judged = batches[:-count] or batches, batches[-count:]
        errors: dict[str, list[float]] = {}
        with _evaluating(before), _evaluating(after), context.progress.bar("features", len(removed)) as bar:
            for gap in _gaps(after, removed, context.example):
                errors[gap.name] = self._close(before, after, gap, (shown, judged), context)
                bar.advance(len(gap.removed))
        return errors

    def _close(
        self,
        before: nn.Module,
        after: nn.Module,
        gap: "_Gap",
        batches: tuple[Sequence[Batch], Sequence[Batch]],
        context: Context,
    ) -> list[float]:
        shown, judged = batches
        first = _error(before, after, gap, judged)
        parameters = gap.trained(after)
        old = [parameter.detach().clone() for parameter in parameters]
        if parameters:
            self._train(before, after, gap, shown, context)
        last = _error(before, after, gap, judged)
        if not last < first:
            with torch.no_grad():
                for parameter, values in zip(parameters, old, strict=True):
                    parameter.copy_(values)
        return [round(first, 6), round(min(first, last), 6)]

    def _train(
        self, before: nn.Module, after: nn.Module, gap: "_Gap", batches: Sequence[Batch], context: Context
    ) -> None:
        parameters, order = gap.trained(after), context.generator("features", gap.name)
        optimizer = torch.optim.Adam(parameters, lr=self.rate)
        enforcer = Enforcer(after, optimizer)
        places = torch.empty(0, dtype=torch.int64)
        for step in range(self.steps):
            if step % len(batches) == 0:
                places = torch.randperm(len(batches), generator=order)
            batch = batches[int(places[step % len(batches)])]
            enforcer.refresh()
            for group in optimizer.param_groups:
                group["lr"] = cosine(step, self.steps, self.rate, 0.0)
            with torch.no_grad():
                wanted = _features(before, gap, batch)
            with torch.enable_grad():
                found = _features(after, gap, batch)
                loss = torch.stack([_distance(a, b) for a, b in zip(found, wanted, strict=True)]).mean()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            enforcer.gradients()
            optimizer.step()
            enforcer.weights()
        for parameter in parameters:
            parameter.grad = None


@dataclass(frozen=True)
class _Gap:
    """Neighbouring modules that are gone, and the modules around them: `front` (or None) and `back` (None: the end)."""

    removed: tuple[str, ...]
    front: str | None
    back: str | None

    @property
    def name(self) -> str:
        return ", ".join(self.removed)

    def trained(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters of the modules around, each once; frozen ones stay."""
        found: dict[int, nn.Parameter] = {}
        for path in (self.front, self.back):
            if path is not None:
                own = model.get_submodule(path).parameters()
                found.update((id(item), item) for item in own if item.requires_grad)
        return list(found.values())


def _gaps(model: nn.Module, removed: Sequence[str], example: tuple[Any, ...]) -> list[_Gap]:
    """The gaps in the order in which they run."""
    calls = _calls(model, example)
    gone = set(removed)
    modules = dict(model.named_modules(remove_duplicate=False))
    runs: list[tuple[list[str], int, int]] = []  # the removed, and the places of the first and the last in `calls`
    for place, path in enumerate(calls):
        if path in gone:
            last = runs[-1][2] + 1 if runs else 0
            if runs and not any(_has_weights(modules[between]) for between in calls[last:place]):
                runs[-1] = ([*runs[-1][0], path], runs[-1][1], place)
            else:
                runs.append(([path], place, place))
    gaps = []
    for paths, start, end in runs:
        leaf = next((path for path in reversed(calls[:start]) if _has_weights(modules[path])), None)
        next_leaf = next((path for path in calls[end + 1 :] if _has_weights(modules[path])), None)
        front = None if leaf is None else _unit(leaf, paths[0], calls)
        back = None if next_leaf is None else _unit(next_leaf, paths[-1], calls)
        gaps.append(_Gap(tuple(paths), front, back))
    return gaps


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _unit(leaf: str, beside: str, calls: Sequence[str]) -> str:
    """The module around a leaf that stands on the level of the module `beside`, or as near below as one is called."""
    parts, called = leaf.split("."), set(calls)
    for depth in range(beside.count(".") + 1, len(parts)):
        path = ".".join(parts[:depth])
        if path in called and not beside.startswith(f"{path}."):
            return path
    return leaf


def _calls(model: nn.Module, example: tuple[Any, ...]) -> list[str]:
    """The paths of all modules that run, in the order in which they begin; each once."""
    calls: dict[str, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda _, __, path=path: calls.setdefault(path))
        for path, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            model(*example)
    finally:
        for handle in handles:
            handle.remove()
    return list(calls)


def _features(model: nn.Module, gap: _Gap, batch: Batch) -> list[Tensor]:
    """What leaves the module behind the gap, one entry a call."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found.extend(_tensors(output)[:1])

    if gap.back is None:
        return _tensors(model(*batch.inputs))
    handle = model.get_submodule(gap.back).register_forward_hook(keep)
    try:
        model(*batch.inputs)
    finally:
        handle.remove()
    return found


def _tensors(output: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(output)
    return [item for item in leaves if isinstance(item, Tensor) and item.is_floating_point()]


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """The squared error over the variance of what is wanted."""
    return (found - wanted).square().sum() / (wanted - wanted.mean()).square().sum().clamp(min=1e-12)


@torch.no_grad()
def _error(before: nn.Module, after: nn.Module, gap: _Gap, batches: Sequence[Batch]) -> float:
    pairs = [(_features(after, gap, batch), _features(before, gap, batch)) for batch in batches]
    errors = [float(_distance(a, b)) for found, wanted in pairs for a, b in zip(found, wanted, strict=True)]
    return sum(errors) / max(1, len(errors))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
