"""What whole numbers cost under an entropy coder that learns as it goes, in bits, without running one.

A level is coded as three things: whether it is zero, its sign, and in unary how far beyond one it goes. How likely a
weight is not zero follows from how busy its row and its column are (for a kernel: its filter, its channel and place,
and the kernel itself), which is what adaptive coders learn from neighbours. Rows and columns are counted with a little
of the tensor's own density in front, as an adaptive coder would guess before it has seen any: so the first weight of an
empty row is dear, and rows empty themselves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST, _MOST = 1e-4, 0.95  # of a weight's probability not to be zero: no coder trusts a few symbols with more
_BEFORE = 0.5  # weights of average density that are counted in front of a row or column
_SIGN = 1.0  # bits: signs of trained weights are even


@dataclass(frozen=True)
class Prices:
    """Bits of a zero and of a level of one (shape of the tensor, float32), and of each further one (a scalar).

    `learning` is what a coder pays besides until it knows how busy each row and each column is (a scalar).
    """

    zero: Tensor
    one: Tensor
    more: Tensor
    learning: Tensor

    def of(self, levels: Tensor) -> Tensor:
        """Bits of all `levels` (whole numbers, shape of the tensor) together, a float64 scalar."""
        size = levels.abs()
        taken = torch.where(size > 0, self.one + (size - 1) * self.more, self.zero)
        return taken.sum(dtype=torch.float64) + self.learning


def prices_of(levels: Tensor) -> Prices:
    """Prices fitted to `levels`, whole numbers of any shape (first axis: rows), in one pass over them.

    The probabilities are those of the levels themselves: what `Prices.of` then gives is close to what a good adaptive
    coder takes for them, and gradients of it tell which weights to give up first.
    """
    size = levels.detach().abs().float()
    kept = (size > 0).float()
    density = (kept.sum() + _BEFORE) / (kept.numel() + 2 * _BEFORE)
    share = _shares(kept, density).clamp(_LEAST, _MOST)
    nonzeros, total = kept.sum(), size.sum()
    further = (total - nonzeros + 0.5) / (total + 1)  # of the questions "still larger?", those answered with yes
    one = -torch.log2(share) + _SIGN - torch.log2(1 - further)
    return Prices(-torch.log2(1 - share), one, -torch.log2(further), _learning(kept))


def _learning(kept: Tensor) -> Tensor:
    """Half the logarithm of what was counted, for each row and each column: the usual price of a probability.

    J. Rissanen 1984, "Universal coding, information, prediction, and estimation", IEEE Trans. Inf. Theory 30.
    """
    if kept.dim() < 2 or not kept.numel():
        return kept.new_zeros(())
    matrix = kept.flatten(1)
    return sum((0.5 * torch.log2(1 + matrix.sum(axis)).sum() for axis in (0, 1)), kept.new_zeros(()))


def _shares(kept: Tensor, density: Tensor) -> Tensor:
    """The probability of each weight not to be zero, shape of `kept`."""
    if kept.dim() < 2:
        return density.expand(kept.shape)
    rows = _mean(kept, tuple(range(1, kept.dim())), density)
    if kept.dim() == 2:
        return rows * _mean(kept, (0,), density) / density
    places = tuple(range(2, kept.dim()))
    channels = _mean(kept, (0, *places), density)
    position = _mean(kept, (0, 1), density)
    kernels = _mean(kept, places, density)
    return (rows * channels * position / density**2 * kernels).sqrt()


def _mean(kept: Tensor, axes: tuple[int, ...], density: Tensor) -> Tensor:
    """The density along `axes`, which keep size one."""
    count = 1
    for axis in axes:
        count *= kept.shape[axis]
    return (kept.sum(axes, keepdim=True) + _BEFORE * density) / (count + _BEFORE)
