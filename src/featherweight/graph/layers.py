"""Modules that surgery puts into networks and that torch.nn lacks.

Plain modules like any other: they train, trace, export to ONNX, and `graph/described.py` writes them down.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.errors import UsageError
from featherweight.graph._recurrent import LowRankGRU, LowRankLSTM

__all__ = ["ChannelPad", "ChannelSelect", "Constant", "LowRankGRU", "LowRankLSTM", "PassOn", "Zeros"]

_MOST: Final = 2**31  # numbers of a tensor of zeros


class ChannelSelect(nn.Module):
    """Keeps the channels `indices` of dimension `dim`, in that order; an index may occur more than once.

    The channel sampler of channel pruning (He et al., "Channel Pruning for Accelerating Very Deep Neural Networks",
    2017, section 3.2) and the selection layer of network slimming (Liu et al., 2017, section 3).

    Input: any tensor with more channels in `dim` than the largest index. Output: the same with len(indices) channels.
    Raises: UsageError for indices that are no one-dimensional integers of 0 or more.
    """

    indices: Tensor

    def __init__(self, indices: Tensor | Sequence[int], dim: int = 1) -> None:
        super().__init__()
        found = torch.as_tensor(indices)
        if found.dim() != 1 or found.dtype not in (torch.int64, torch.int32):
            raise UsageError(
                "indices of channels are one-dimensional integers",
                where="ChannelSelect",
                value=f"{found.dtype} of shape {tuple(found.shape)}",
            )
        if found.device.type != "meta" and (found < 0).any():
            raise UsageError("an index of a channel is 0 or more", where="ChannelSelect", value=int(found.min()))
        self.dim = dim
        self.register_buffer("indices", found.to(torch.int64, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        """The channels of `x` that are kept."""
        return x.index_select(self.dim, self.indices)

    def extra_repr(self) -> str:
        """One line about the settings."""
        return f"{self.indices.numel()} channels, dim={self.dim}"


class ChannelPad(nn.Module):
    """Puts `before` zero channels in front of dimension `dim` and `after` zero channels behind it.

    The shortcut of ResNet without parameters (He et al., 2015, option A), and the way back to full width behind a cut.

    Input: any tensor that has the dimension. Output: the same with before + after more channels.
    Raises: UsageError for a number of channels below 0.
    """

    def __init__(self, before: int, after: int, dim: int = 1) -> None:
        super().__init__()
        if before < 0 or after < 0:
            raise UsageError("channels to add are 0 or more", where="ChannelPad", value=(before, after))
        self.before, self.after, self.dim = before, after, dim

    def forward(self, x: Tensor) -> Tensor:
        """`x` between zero channels."""
        behind = x.dim() - 1 - self.dim % x.dim()  # F.pad counts dimensions from the last one
        return F.pad(x, [0, 0] * behind + [self.before, self.after])

    def extra_repr(self) -> str:
        """One line about the settings."""
        return f"before={self.before}, after={self.after}, dim={self.dim}"


class Constant(nn.Module):
    """Gives `value` (the shape of one example, broadcastable sizes of 1 included) for every example of the batch.

    Stands where a branch was whose output does not depend on its input any more. The value is a buffer: it is kept in
    `state_dict()`, and no optimiser moves it.

    Input: any tensor, batch in front; only its batch is read. Output: (batch, *value.shape).
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The value, once for each example of `x`."""
        return self.value.unsqueeze(0).expand(x.shape[0], *self.value.shape)

    def extra_repr(self) -> str:
        """One line about the settings."""
        return f"shape={tuple(self.value.shape)}"


class PassOn(nn.Module):
    """Gives its first argument on as it is: stands where a block was that takes more arguments, or gives a tuple.

    `length` is the number of entries of the tuple that the block gave, all but the first None (1 to 4096); without it
    the argument itself is given.

    Input: any arguments, by place or by name; the first counts, whichever way it comes. Raises: UsageError for another
    length, and when nothing is given.
    """

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        if length is not None and not 1 <= length <= 4096:
            raise UsageError("a tuple to pass on has 1 to 4096 entries", where="PassOn", value=length)
        self.length = length

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The first argument, in a tuple where `length` asks for one."""
        given = (*args, *kwargs.values())
        if not given:
            raise UsageError("there is nothing to pass on", where="PassOn")
        return given[0] if self.length is None else (given[0], *(None,) * (self.length - 1))

    def extra_repr(self) -> str:
        """One line about the settings."""
        return "" if self.length is None else f"length={self.length}"


class Zeros(nn.Module):
    """Gives zeros whatever it gets: stands at the end of a branch that was taken out, so that what is added is nothing.

    `shape` are the sizes of the result, 1 where broadcasting serves; -1 stands for the size that the first tensor among
    the arguments has in that dimension. `length`: as in `PassOn`. The zeros take the memory of one number, spread by
    strides of 0; with `filled` all of it, for code that writes into them (`out += x`).

    Input: any arguments, by place or by name, a tensor among them: the first gives the device, the first floating one
    the type. Raises: UsageError for sizes below -1 or of more than 2^31 numbers, another length, and when no tensor is
    given.
    """

    def __init__(self, shape: Sequence[int], length: int | None = None, *, filled: bool = False) -> None:
        super().__init__()
        sizes = tuple(shape)
        if any(size < -1 for size in sizes) or prod(size for size in sizes if size > 0) > _MOST:
            raise UsageError("sizes are -1 or more, of at most 2^31 numbers", where="Zeros", value=sizes)
        if length is not None and not 1 <= length <= 4096:
            raise UsageError("a tuple has 1 to 4096 entries", where="Zeros", value=length)
        self.shape, self.length, self.filled = sizes, length, filled

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Zeros, in a tuple where `length` asks for one, None behind them."""
        given = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)]
        like = next((item for item in given if item.is_floating_point()), None)
        if not given:
            raise UsageError("there is no tensor among the arguments", where="Zeros", value=len(args) + len(kwargs))
        sizes = [given[0].shape[dim] if size == -1 else size for dim, size in enumerate(self.shape)]
        dtype = torch.get_default_dtype() if like is None else like.dtype
        zeros = given[0].new_zeros(sizes if self.filled else [1] * len(sizes), dtype=dtype)
        if not self.filled and any(size != 1 for size in self.shape):
            zeros = zeros.expand(sizes)
        return zeros if self.length is None else (zeros, *(None,) * (self.length - 1))

    def extra_repr(self) -> str:
        """One line about the settings."""
        length = "" if self.length is None else f", length={self.length}"
        return f"shape={self.shape}{length}" + (", filled=True" if self.filled else "")
