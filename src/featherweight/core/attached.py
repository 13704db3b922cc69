"""What featherweight hangs on a model beside its tensors: plain attributes of the model itself.

They travel with `copy.deepcopy` (and so with every copy that a recipe makes), not with `state_dict`. Rooms that may not
import each other meet here: surgery has to know that a weight is held by an encoding, not what an encoding is.
"""

from typing import Any, Final

from torch import nn

CONSTRAINTS: Final = "_featherweight_constraints"
"""What training must respect, by the name of the tensor that it holds (training/constraints.py)."""

SURGERY: Final = "_featherweight_surgery"
"""How the structure was changed since the user's class made it (graph/log.py)."""


def attached(model: nn.Module, what: str, default: Any) -> Any:
    """What hangs on the model under the name `what`, or `default`."""
    return model.__dict__.get(what, default)


def hang(model: nn.Module, what: str, value: Any) -> None:
    """Hangs a value on the model under the name `what`, in the place of what was there."""
    model.__dict__[what] = value
