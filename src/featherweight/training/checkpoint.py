"""What of a training must survive a kill, as named tensors and one JSON value."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from featherweight.errors import FeatherweightError
from featherweight.training.constraints import constrain, constraints_of

INTERVAL = 20.0  # seconds of training between two checkpoints


@dataclass(frozen=True)
class Saved:
    """Tensors by name, and a JSON value beside them."""

    meta: dict[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Store(Protocol):
    """Where a run keeps what a later sitting takes up: implemented by recipes/store.py."""

    def read(self, key: str) -> Saved | None:
        """What was last written under `key`."""
        ...

    def write(self, key: str, saved: Saved) -> None:
        """Keeps `saved` under `key`: afterwards, also after a kill, `read` gives the old or the new."""
        ...

    def stop_requested(self) -> type[FeatherweightError] | None:
        """The error to stop with, once a signal has asked for it."""
        ...


class Keeper:
    """Says when one stretch of training is to be kept, and keeps it under its key.

    A checkpoint is due after `interval` seconds (default: INTERVAL), at an epoch's end after a tenth of that, and
    never so often that writing takes more than a tenth of the time.
    """

    def __init__(self, store: Store | None, key: str, interval: float | None = None) -> None:
        self._store, self._key = store, key
        self._interval = INTERVAL if interval is None else interval
        self._last, self._cost = time.monotonic(), 0.0

    @property
    def stop(self) -> type[FeatherweightError] | None:
        """The error to stop with, or None."""
        return None if self._store is None else self._store.stop_requested()

    def due(self, epoch_ends: bool) -> bool:
        """Whether it is time for a checkpoint."""
        wait = self._interval / 10 if epoch_ends else self._interval
        return self._store is not None and time.monotonic() - self._last >= max(wait, 10 * self._cost)

    def save(self, saved: Saved) -> None:
        """Keeps a checkpoint or the end of the stretch."""
        start = time.monotonic()
        if self._store is not None:
            self._store.write(self._key, saved)
        self._last = time.monotonic()
        self._cost = self._last - start

    def load(self) -> Saved | None:
        """What an earlier sitting kept of this stretch."""
        return None if self._store is None else self._store.read(self._key)


def model_state(model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Parameters, buffers and the state of all constraints, by prefixed names; and the constrained names."""
    tensors = {f"weight/{name}": tensor.detach() for name, tensor in _tensors(model).items()}
    constraints = constraints_of(model)
    for name, constraint in constraints.items():
        tensors |= {f"constraint/{name}/{key}": tensor for key, tensor in constraint.state().items()}
    return tensors, sorted(constraints)


def fits(model: nn.Module, saved: Saved) -> bool:
    """Whether the state can be put into the model: same tensors, and no constraint that the model does not have."""
    stored = {name for name in saved.tensors if name.startswith("weight/")}
    mine = {f"weight/{name}": tensor for name, tensor in _tensors(model).items()}
    shapes = all(saved.tensors[name].shape == tensor.shape for name, tensor in mine.items() if name in stored)
    return stored == mine.keys() and shapes and set(saved.meta["constrained"]) <= constraints_of(model).keys()


def restore_model(model: nn.Module, saved: Saved) -> None:
    """Puts back what `model_state` gave, constraints included. Call `fits` first."""
    with torch.no_grad():
        for name, tensor in _tensors(model).items():
            tensor.copy_(saved.tensors[f"weight/{name}"])
    present = constraints_of(model)
    constrain(model, {name: present[name].restored(_part(saved, name, model)) for name in saved.meta["constrained"]})


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state tensors of an optimiser by "optimizer/number of the parameter/name"."""
    states = optimizer.state_dict()["state"]
    return {
        f"optimizer/{number}/{key}": value
        for number, state in states.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_state` gave, for the same parameters and kind of optimiser."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "optimizer":
            number, _, key = rest.partition("/")
            states.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _part(saved: Saved, name: str, model: nn.Module) -> dict[str, Tensor]:
    prefix = f"constraint/{name}/"
    device = _tensors(model)[name].device
    return {key[len(prefix) :]: t.to(device) for key, t in saved.tensors.items() if key.startswith(prefix)}
