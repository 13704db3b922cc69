"""What of a layer can be factored and what ranks cost there, and convolutions made of some axes of another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from featherweight.numerics.factor import Ladder, evbmf, matrix_ladder

Measure = Literal["macs", "parameters"]
Ranks = tuple[int, ...]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Part:
    """One matrix or kernel of a layer. Costs are multiply-adds of the example's batch, or parameters, without biases.

    `ladder(multiple)` gives its ranks from full down; None where only a fit would tell what a rank is worth.
    `automatic()` gives the ranks that stand out of the noise.
    """

    full: Ranks
    whole: float
    cost: Callable[[Ranks], float]
    ladder: Callable[[int], Ladder] | None
    automatic: Callable[[], Ranks]


@dataclass(frozen=True)
class Places:
    """Positions of a convolution's maps, batch and all, at which weights are multiplied; 1 where parameters count."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    batch: int

    @staticmethod
    def of(inputs: tuple[int, ...], outputs: tuple[int, ...], axes: int, measure: Measure) -> "Places":
        """The places of a convolution over `axes` axes, by the shapes of its input and output."""
        if measure == "parameters":
            return Places((1,) * axes, (1,) * axes, 1)
        return Places(inputs[-axes:], outputs[-axes:], math.prod(inputs[: -axes - 1]))

    def when(self, axes: int) -> int:
        """Positions when the first `axes` axes have been convolved and the others not yet."""
        return self.batch * math.prod(self.after[:axes]) * math.prod(self.before[axes:])

    @property
    def first(self) -> int:
        """Positions of the input."""
        return self.when(0)

    @property
    def last(self) -> int:
        """Positions of the output."""
        return self.when(len(self.after))


def matrix_part(matrix: Tensor, unit: float, places: int) -> Part:
    """A matrix (m, n) of which a rank costs `unit`, and which is multiplied whole at `places`."""
    whole = float(matrix.numel() * places)

    def ladder(multiple: int) -> Ladder:
        return matrix_ladder(torch.linalg.svdvals(matrix.double()).square(), unit, whole, multiple)

    return Part(
        full=(min(matrix.shape),),
        whole=whole,
        cost=lambda ranks: unit * ranks[0],
        ladder=ladder,
        automatic=lambda: (max(1, evbmf(matrix)[0]),),
    )


def convolution(
    like: Convolution, weight: Tensor, axes: Sequence[int] = (), *, groups: int = 1, bias: Tensor | None = None
) -> nn.Module:
    """A convolution with this weight that does, along `axes`, what `like` does (stride, padding, dilation), and along
    the others nothing.
    """
    count = len(like.kernel_size)

    def along(values: Sequence[int], neutral: int) -> tuple[int, ...]:
        return tuple(values[axis] if axis in axes else neutral for axis in range(count))

    padding = like.padding
    given = (padding if axes else 0) if isinstance(padding, str) else along(padding, 0)
    kind = cast(Callable[..., nn.Module], type(like))  # of 1, 2 or 3 axes: what the shapes say, too
    made = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=along(like.stride, 1),
        padding=given,
        dilation=along(like.dilation, 1),
        groups=groups,
        bias=bias is not None,
        padding_mode=like.padding_mode,
        device="meta",  # nothing is drawn from the global random numbers
    )
    return filled(made, like, weight, bias)


def linear(like: nn.Module, weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    """A linear layer with this weight (outputs, inputs)."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return filled(made, like, weight, bias)


def filled(made: nn.Module, like: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The new layer with its tensors, trainable where those of `like` are, in its type and mode."""
    old = like.get_parameter("weight")
    made.register_parameter("weight", nn.Parameter(_as(weight, old), requires_grad=old.requires_grad))
    if bias is not None:
        frozen = getattr(like, "bias", None) is not None and not like.get_parameter("bias").requires_grad
        made.register_parameter("bias", nn.Parameter(_as(bias, old), requires_grad=not frozen))
    return made.train(like.training)


def chain(layers: Sequence[nn.Module], like: nn.Module) -> nn.Module:
    """The layers one after the other, with nothing between them."""
    return nn.Sequential(*layers).train(like.training)


def _as(values: Tensor, like: Tensor) -> Tensor:
    return values.detach().to(like).contiguous().clone()
