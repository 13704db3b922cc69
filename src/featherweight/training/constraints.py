"""What training must respect: zeros that stay zero, values that stay shared.

A constraint belongs to one parameter. The parameter itself stays a plain leaf tensor, so every module (RNNs too),
optimiser and export works on it; the loop calls the constraint around each optimiser step. Because optimisers work
element by element, weights that share a value and get the same gradient stay bit-for-bit equal.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from featherweight.core.attached import CONSTRAINTS, attached, hang


@runtime_checkable
class Constraint(Protocol):
    """What an attached encoding does for training. All tensors have the parameter's shape unless said otherwise."""

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of the free values, spread over the weights (zero for pruned, summed for shared ones)."""
        ...

    def project(self, weight: Tensor) -> Tensor:
        """The nearest weight that the constraint allows."""
        ...

    def updated(self, weight: Tensor) -> "Constraint":
        """The same structure with the values that `weight` has now."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors (any shape) from which `restored` makes an equal constraint; for checkpoints."""
        ...

    def restored(self, state: Mapping[str, Tensor]) -> "Constraint":
        """A constraint of this kind with the structure in `state`."""
        ...


def constraints_of(model: nn.Module) -> dict[str, Constraint]:
    """The constraints of a model by parameter name. A copy: use `constrain` to change them."""
    return dict(attached(model, CONSTRAINTS, {}))


def constrain(model: nn.Module, constraints: Mapping[str, Constraint]) -> None:
    """Replaces the constraints of a model. They travel with `copy.deepcopy`, not with `state_dict`."""
    hang(model, CONSTRAINTS, dict(constraints))
