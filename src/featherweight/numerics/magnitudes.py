"""How large the weights of a tensor are, and how often: all that a quantizer has to know to choose a grid.

Where every error counts alike and bits are counted by size, nothing depends on where a weight lies. Values of 16 bits
have 2^15 sizes, counted exactly; of float32 the highest 16 bits of a size are counted, which tell it to 0.2 %.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.core.native import native

HALVES = (torch.float16, torch.bfloat16)
"""Types of 16 bits: what is to be done with each of their values fits into a table."""

_DROPPED = 15  # bits of a float32 that are not counted
_BINS = {2: 1 << 15, 4: 1 << (31 - _DROPPED)}  # by the bytes of a value
_CHUNK = 1 << 20  # values handled at a time: no wide copy ever has the size of the tensor


@dataclass(frozen=True)
class Magnitudes:
    """Sizes that occur, float64, ascending, and how often, int64; the largest of them and the sum of their squares.

    `largest` and `energy` are exact, `sizes` of float32 in the middle of what was counted together.
    """

    sizes: NDArray[np.float64]
    counts: NDArray[np.int64]
    largest: float
    energy: float

    @property
    def count(self) -> int:
        """How many weights there are."""
        return int(self.counts.sum())


def magnitudes(weight: Tensor) -> Magnitudes:
    """The sizes of finite weights of any shape and floating-point type, as float32 has them."""
    values = flat(weight)
    bits = words(values)
    counts = np.zeros(_BINS[bits.itemsize], np.int64)
    for start in range(0, len(bits), _CHUNK):  # bincount makes an int64 copy of what it is given
        part = bits[start : start + _CHUNK]
        if native is None:
            counts += np.bincount(_bins(part), minlength=len(counts))
        else:
            native.round_uniform_counts(part, counts)
    used = np.flatnonzero(counts)
    if bits.itemsize == 2:
        sizes = torch.from_numpy(used.astype(np.int16)).view(values.dtype).double().numpy()
        largest, energy = float(sizes.max(initial=0)), float((counts[used] * sizes**2).sum())
    else:
        middles = ((used << _DROPPED) + (1 << (_DROPPED - 1))).astype(np.uint32)
        sizes = middles.view(np.float32).astype(np.float64)
        parts = torch.split(values, _CHUNK)
        largest = max((float(part.abs().max()) for part in parts if len(part)), default=0.0)
        energy = sum(float(part.double().square().sum()) for part in parts)
    return Magnitudes(sizes, counts[used], largest, energy)


def flat(weight: Tensor) -> Tensor:
    """The weights one behind the other on the CPU, in their own type if it has 16 bits, else as float32."""
    weight = weight.detach().cpu()
    return (weight if weight.dtype in HALVES else weight.float()).contiguous().reshape(-1)


def words(values: Tensor) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """The bits of values as `flat` gives them; the same memory."""
    if values.itemsize == 2:
        return values.view(torch.int16).numpy().view(np.uint16)
    return values.view(torch.int32).numpy().view(np.uint32)


def _bins(bits: NDArray[np.uint16] | NDArray[np.uint32]) -> NDArray[np.integer]:
    if bits.itemsize == 2:
        return bits & np.uint16(0x7FFF)
    return (bits & np.uint32(0x7FFFFFFF)) >> np.uint32(_DROPPED)
