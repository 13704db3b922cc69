"""Holds a model to its constraints around each step of an optimiser."""

import torch
from torch import Tensor, nn

from featherweight.errors import TaskError
from featherweight.training.constraints import Constraint, constrain, constraints_of


class Enforcer:
    """Binds the constraints of `model` to its parameters and to the state of `optimizer`.

    Once the state of a weight that must stay zero is zero, it stays so: gradient and weight are zero there, hence
    momentum, both Adam moments and weight decay have nothing to grow from. The state is therefore cleared only when
    a constraint changes (a mask that grows), and the cost of a step is that of gradient and projection alone.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._parameters = dict(model.named_parameters())
        self._bound: dict[str, Constraint] = {}
        self._active: list[tuple[Tensor, Constraint]] = []

    def adopt(self) -> None:
        """Takes over the constraints as they are, when weights and state are known to respect them already."""
        self._bind(self._current())

    def refresh(self) -> None:
        """Takes over constraints that were attached since the last call; projects and clears what they concern."""
        current = self._current()
        same = current.keys() == self._bound.keys()
        if same and all(item is self._bound[name] for name, item in current.items()):
            return
        for name, constraint in current.items():
            if constraint is not self._bound.get(name):
                parameter = self._parameters[name]
                with torch.no_grad():
                    parameter.copy_(constraint.project(parameter.detach()))
                self._clear(parameter, constraint)
        self._bind(current)

    def gradients(self) -> None:
        """Turns the gradients of the weights into those of the free values. Call before the optimiser's step."""
        for parameter, constraint in self._active:
            if parameter.grad is not None:
                parameter.grad.copy_(constraint.gradient(parameter.grad))

    def weights(self) -> None:
        """Puts the weights back onto the constraints. Call after the optimiser's step."""
        with torch.no_grad():
            for parameter, constraint in self._active:
                parameter.copy_(constraint.project(parameter.detach()))

    def _current(self) -> dict[str, Constraint]:
        return {name: item for name, item in constraints_of(self._model).items() if name in self._parameters}

    def _bind(self, constraints: dict[str, Constraint]) -> None:
        self._bound = constraints
        self._active = [(self._parameters[name], item) for name, item in constraints.items()]

    def _clear(self, parameter: Tensor, constraint: Constraint) -> None:
        """Zeroes the optimiser's memory where no gradient will flow."""
        tensors = [
            item
            for item in self._optimizer.state.get(parameter, {}).values()
            if isinstance(item, Tensor) and item.shape == parameter.shape and item.dim() > 0
        ]
        if tensors:
            free = constraint.gradient(torch.ones_like(parameter)) != 0
            for tensor in tensors:
                tensor.mul_(free)


def project(model: nn.Module) -> None:
    """Puts every constrained tensor of the model, buffers too, onto its constraint."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, constraint in constraints_of(model).items():
            if name not in tensors:
                raise TaskError(
                    "a constraint is attached to a tensor that the model does not have",
                    value=name,
                    fix="Detach it before the module is replaced.",
                )
            tensors[name].copy_(constraint.project(tensors[name].detach()))


def move(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, with its constraints, on `device`."""
    model.to(device)
    moved = {}
    for name, constraint in constraints_of(model).items():
        state = constraint.state()
        alike = all(tensor.device.type == device.type for tensor in state.values())
        moved[name] = constraint if alike else constraint.restored({key: t.to(device) for key, t in state.items()})
    if moved:
        constrain(model, moved)
    return model
