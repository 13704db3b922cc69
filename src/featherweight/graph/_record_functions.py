"""Functions of torch that are written in Python, made to run under a function mode; and sizes with an origin."""

from collections.abc import Sequence
from functools import cache, reduce
from types import FunctionType
from typing import Any, Final

import torch

from featherweight.graph._record_named import Named
from featherweight.graph.origins import Size

_CHECKS: Final = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@cache
def body_of(function: FunctionType) -> FunctionType | None:
    """The function without its look for modes, so that it runs under one; None when it has none.

    Such a function first asks whether a mode is on and then calls the mode instead of itself, without end when the mode
    calls it. The copy answers no to itself alone: functions that it calls look again.
    """
    if not any(name in function.__globals__ for name in _CHECKS):
        return None
    names: dict[str, Any] = {**function.__globals__, **dict.fromkeys(_CHECKS, _never)}
    body = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    return body


def _never(*arguments: Any) -> bool:
    return False


def named_size(serial: int, shape: Sequence[int]) -> torch.Size:
    """A shape whose sizes know that they are those of the value with this serial number."""
    return torch.Size([Named(int(size), Size(serial, dim)) for dim, size in enumerate(shape)])


def named_count(serial: int, shape: Sequence[int]) -> int:
    """The number of elements, as the product of the sizes."""
    return reduce(lambda left, right: left * right, named_size(serial, shape), 1) if shape else 1
