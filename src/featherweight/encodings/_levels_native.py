"""What levels come to, natively: multiples of the step and weights, the same as by numerics/trellis.py and torch.

`levels` are int32 levels or the symbols that stand for them (`_levels.to_symbols`), flat; `trellis` is after how many
of them its state starts anew, 0 for levels that are not dependent.
"""

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.entropy.base import Symbols, Work

Flat = Symbols | NDArray[np.int32]

_CHUNK = 1 << 20  # levels between two looks at the clock


def multiples(built: ModuleType, levels: Flat, trellis: int, work: Work) -> NDArray[np.int32]:
    """The multiples of the step, flat: the levels themselves without a trellis."""
    found, state = np.empty(len(levels), np.int32), 0
    for start in range(0, len(levels), _CHUNK):
        work.check()
        part = slice(start, start + _CHUNK)
        state = built.levels_uniform_i32(levels[part], start, trellis, state, found[part])
    return found


def values(built: ModuleType, levels: Flat, trellis: int, steps: Tensor, work: Work) -> Tensor:
    """multiple * step, flat; `steps` (on the CPU, not above 32 bits) are for equal shares of the levels, one by one.

    The product is rounded to float32 and then to the type of `steps`, as torch does it.
    """
    count, columns = len(levels), max(1, len(levels) // len(steps))
    wide = steps.detach().float().contiguous().numpy()
    if steps.dtype == torch.float32:
        out, state = np.empty(count, np.float32), 0
        for start in range(0, count, _CHUNK):
            work.check()
            part = slice(start, start + _CHUNK)
            state = built.levels_uniform_f32(levels[part], start, trellis, state, wide, columns, out[part])
        return torch.from_numpy(out)
    found, state = torch.empty(count, dtype=steps.dtype), 0
    out = np.empty(min(count, _CHUNK), np.float32)
    for start in range(0, count, _CHUNK):
        work.check()
        part = slice(start, start + _CHUNK)
        place = out[: len(levels[part])]
        state = built.levels_uniform_f32(levels[part], start, trellis, state, wide, columns, place)
        found[part] = torch.from_numpy(place)
    return found
