"""Modules that surgery puts into networks and that torch.nn lacks.

Plain modules like any other: they train, trace, export to ONNX, and `graph/described.py` writes them down.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.errors import UsageError
from featherweight.graph._recurrent import LowRankGRU, LowRankLSTM

__all__ = ["ChannelPad", "ChannelSelect", "Constant", "LowRankGRU", "LowRankLSTM", "PassOn"]


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
