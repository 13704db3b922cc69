"""What is checked before an operator runs, where ATen itself does not check: sizes out of numbers, recurrent layers.

`torch.nn` checks the arguments of its recurrent layers in Python; the operators below them trust their caller, and
read out of bounds when the state does not fit the batch. A guard takes the positional and the named arguments.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import Tensor

from featherweight.errors import DataError, FormatError

MAX_FACTORY: Final = 2**28
"""The largest tensor, in elements, that an operator may make out of numbers alone."""

Guard = Callable[[str, Sequence[Any], Mapping[str, Any]], None]


def guard_of(name: str) -> Guard | None:
    """The guard of an operator; None where ATen's own checks suffice."""
    stem = name.partition(".")[0]
    if stem in _COUNTS:
        return check_size
    return check_recurrent if stem in _GATES else None


# factories -------------------------------------------------------------------------------------------------------


def check_size(name: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Refuses a factory that asks for more than MAX_FACTORY elements; sizes that are still symbols pass.

    Raises: FormatError E_GRAPH.
    """
    asked = _COUNTS[name.partition(".")[0]](name, args)
    if not all(isinstance(size, int | float) for size in asked):
        return
    if not math.prod(max(size, 0) for size in asked) <= MAX_FACTORY:  # also refuses NaN
        raise FormatError("E_GRAPH", f"{name} asks for more than 2^28 elements", section="graph", value=asked)


def _of_shape(name: str, args: Sequence[Any]) -> list[Any]:
    return list(args[0])


def _of_new_shape(name: str, args: Sequence[Any]) -> list[Any]:
    return list(args[1])


def _of_range(name: str, args: Sequence[Any]) -> list[Any]:
    start, end, step = {"arange": (0, args[0], 1)}.get(name) or (*args[:2], args[2] if name.endswith("step") else 1)
    if not all(isinstance(item, int | float) for item in (start, end, step)):
        return [None]
    return [(end - start) / step if step else math.inf]


def _of_steps(name: str, args: Sequence[Any]) -> list[Any]:
    return [args[2]]


def _of_identity(name: str, args: Sequence[Any]) -> list[Any]:
    return list(args[:2]) if name.endswith(".m") else [args[0], args[0]]


_COUNTS: Final[dict[str, Callable[[str, Sequence[Any]], list[Any]]]] = {
    **dict.fromkeys(("zeros", "ones", "full"), _of_shape),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full"), _of_new_shape),
    "arange": _of_range,
    "linspace": _of_steps,
    "eye": _of_identity,
}

# recurrent layers ------------------------------------------------------------------------------------------------

_GATES: Final = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def check_recurrent(name: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Refuses inputs (3 dimensions), states (layers x directions, batch, width) or weights that do not fit each other.

    Raises: DataError.
    """
    inputs, state, weights, has_biases, layers = args[:5]
    states = list(state) if name == "lstm" else [state]
    directions = 2 if named["bidirectional"] else 1
    if inputs.dim() != 3 or layers < 1 or len(states) != (2 if name == "lstm" else 1):
        raise DataError("takes inputs of 3 dimensions and its states", where=name, value=tuple(inputs.shape))
    cells = layers * directions
    each = len(weights) // cells
    projected = name == "lstm" and each == (5 if has_biases else 3)
    if each * cells != len(weights) or each != (4 if has_biases else 2) + projected:
        raise DataError(f"takes the weights of {cells} cells", where=name, value=len(weights))
    batch = inputs.shape[0 if named["batch_first"] else 1]
    hidden = weights[1].shape[0] // _GATES[name]
    width = weights[each - 1].shape[0] if projected else hidden
    for item, size in zip(states, (width, hidden), strict=False):
        _expect(name, "a state", item, (cells, batch, size))
    for cell in range(cells):
        inner = inputs.shape[2] if cell < directions else width * directions
        shapes = _shapes(_GATES[name] * hidden, inner, width, has_biases)
        shapes += [(width, hidden)] if projected else []
        for item, shape in zip(weights[cell * each : (cell + 1) * each], shapes, strict=True):
            _expect(name, "a weight", item, shape)
    if len({item.dtype for item in (inputs, *states, *weights)}) > 1:
        raise DataError("takes tensors of one type", where=name, value=inputs.dtype)


def _shapes(gates: int, inner: int, width: int, has_biases: bool) -> list[tuple[int, ...]]:
    return [(gates, inner), (gates, width), *([(gates,), (gates,)] if has_biases else [])]


def _expect(name: str, what: str, item: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(item.shape) != shape:
        raise DataError(f"needs {what} of the shape {shape}", where=name, value=tuple(item.shape))
