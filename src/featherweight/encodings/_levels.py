"""Levels, the whole numbers of steps that weights are: as symbols and back, and the step that keeps weights exactly."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.entropy.base import Symbols
from featherweight.entropy.tables import MAX_ALPHABET, symbol_type
from featherweight.errors import EncodingError

MAX_LEVEL = (1 << 30) - 1  # of both signs: twice as much, as the trellis makes of it, still fits into int32
FINEST = MAX_ALPHABET // 2 - 1  # levels that `divisor` makes: every coder takes them


def to_symbols(levels: NDArray[np.int32]) -> Symbols:
    """0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ..., in the smallest type that holds them."""
    symbols = 2 * np.abs(levels.astype(np.int64, copy=False)) - (levels < 0)
    return symbols.astype(symbol_type(int(symbols.max(initial=0)) + 1))


def from_symbols(symbols: Symbols) -> NDArray[np.int32]:
    """The levels that `to_symbols` turned into `symbols`."""
    levels: NDArray[np.int32] = (symbols >> 1).astype(np.int32) ^ -(symbols & 1).astype(np.int32)
    # an odd symbol 2 k - 1 stands for -k, and its complement (symbol >> 1) ^ -1 is just that
    return levels


def check_levels(levels: Tensor) -> None:
    """Checks what is to be kept as levels.

    Raises: EncodingError for other types than integers, and for a level beyond MAX_LEVEL.
    """
    if levels.is_floating_point() or levels.is_complex() or levels.dtype == torch.bool:
        raise EncodingError("levels are integers", value=levels.dtype)
    low, high = (0, 0) if levels.numel() == 0 else (int(item) for item in levels.aminmax())
    if max(-low, high) > MAX_LEVEL:
        raise EncodingError(f"a level is at most {MAX_LEVEL} in size", value=(low, high), fix="Use larger steps.")


def divisor(weight: Tensor) -> float:
    """The largest step of which all weights are a whole number of at most FINEST; else the least that reaches all.

    1 for weights that are all zero or not all finite.
    """
    values: NDArray[np.float64] = weight.abs().double().cpu().reshape(-1).numpy()
    values = values[values > 0]
    largest = float(values.max(initial=0))
    if not values.size or not math.isfinite(largest):
        return 1.0
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # behind the last bit that is set
    lowest = int((exponents - 53 + zeros).min())
    if math.frexp(largest)[1] - lowest < 63:
        step = math.ldexp(float(np.gcd.reduce(np.ldexp(values, -lowest).astype(np.int64))), lowest)
        if largest <= FINEST * step:
            return step
    return largest / FINEST * (1 + 2**-8)  # a little more: the step is rounded to the weight's type
