"""A model whose weights are rounded wherever it runs, and trained as if they were not.

Oktay, Ballé, Singh and Shrivastava 2020 (ICLR, "Scalable model compression by entropy penalized reparameterization"):
weight = step * round(latent / unit), the rounding taken for the identity on the way back (straight through). Latents
and steps are parameters like any other, so optimiser, averages and checkpoints know them without being told.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from featherweight.techniques.precision.low_bit._entropy_narrow import Narrowing
from featherweight.techniques.precision.low_bit._entropy_prices import prices_of
from featherweight.training.constraints import constrain, constraints_of

_STIFF, _SLOW = 4.0, 0.05  # off by a quarter, the penalty moves at its full speed: 5 % a look
_AHEAD = 8.0  # looks: weights follow the penalty late, so what counts is where the bytes will be by then


class _Rounded(torch.autograd.Function):
    """step * whole numbers of units; on the way back the rounding is taken for the identity (straight through).

    One function with a gradient of its own, because on the weights of a small network passes over memory take longer
    than the network itself.
    """

    @staticmethod
    def forward(context: Any, value: Tensor, gain: Tensor, latent: "Latent") -> Tensor:
        levels, step = latent.levels, latent.step
        context.save_for_backward(levels, step)
        context.unit = latent.unit
        return levels * step

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        levels, step = context.saved_tensors
        to_gain = torch.dot(gradient.reshape(-1), levels.reshape(-1)) * step
        return gradient * (step / context.unit), to_gain, None


_rounded: Callable[..., Tensor] = _Rounded.apply


class Latent(nn.Module):
    """One tensor: `value`, the latent in the unit of the weights, and `gain`, how the step has grown (log).

    `unit` is the step at the start, > 0. Where `mask` (bool, shape of the weight) is False, the weight stays zero.
    """

    mask: Tensor
    price_one: Tensor
    price_more: Tensor

    def __init__(self, weight: Tensor, unit: float, mask: Tensor | None = None) -> None:
        super().__init__()
        start = weight.detach().clone()  # in the layout that the model prefers
        self.unit = unit
        self.register_buffer(
            "mask", torch.ones_like(start, dtype=torch.bool) if mask is None else mask.to(start.device, copy=True)
        )
        self.value = nn.Parameter(start * self.mask)
        self.gain = nn.Parameter(torch.zeros((), dtype=weight.dtype, device=weight.device))
        self.register_buffer("price_one", torch.zeros_like(start))
        self.register_buffer("price_more", torch.zeros_like(self.gain))

    @property
    def step(self) -> Tensor:
        """The step as the file will hold it, a float16 value, without a gradient."""
        exact = self.unit * self.gain.detach().exp()
        least, most = torch.finfo(torch.float16).tiny, torch.finfo(torch.float16).max
        return exact.clamp(least, most).to(torch.float16).to(exact)

    @property
    def levels(self) -> Tensor:
        """The whole numbers, as floats without a gradient."""
        return self.value.detach().div(self.unit).round_().mul_(self.mask)

    def weight(self) -> Tensor:
        """What the model runs on, differentiable in `value` and `gain`."""
        return _rounded(self.value, self.gain, self)

    def refit(self) -> float:
        """Takes the prices from the levels as they are now; bits that these cost."""
        levels = self.levels
        prices = prices_of(levels)
        self.price_one.copy_((prices.one - prices.zero).clamp_(min=0))
        self.price_more.copy_(prices.more)
        return float(prices.of(levels))

    def rate(self) -> Tensor:
        """Bits of the latents, between whole numbers in a straight line: its gradient is what a level costs more."""
        value = self.value.detach()
        slope = torch.where(value.abs() < self.unit, self.price_one, self.price_more).copysign_(value)
        return torch.dot(slope.reshape(-1), self.value.reshape(-1)) / self.unit


class Penalised(nn.Module):
    """`model` with some parameters as latents: {name of the parameter: Latent}. Called like the model itself.

    The parameters themselves are at rest meanwhile; `release` gives them the rounded values. What else constrains the
    model holds here as well. `price` is the penalty of one bit as it counts now, `start` the bits at the start.
    """

    price: Tensor
    start: Tensor
    error: Tensor

    def __init__(self, model: nn.Module, latents: Mapping[str, Latent], price: float, narrowing: Narrowing) -> None:
        super().__init__()
        self.model, self._latents, self.narrowing = model, dict(latents), narrowing
        self.latents = nn.ModuleList(latents.values())  # makes them known to optimisers; a dict of modules is not
        # buffers, so that checkpoints know them
        self.register_buffer("price", torch.tensor(price))
        self.register_buffer("start", torch.tensor(self.refit()))
        self.register_buffer("error", torch.tensor(0.0))  # at the last look, the logarithm of bits over goal
        parameters = dict(model.named_parameters())
        self._resting = [(parameters[name], parameters[name].requires_grad) for name in latents]
        for parameter, _ in self._resting:
            parameter.requires_grad_(False)
        others = {f"model.{name}": item for name, item in constraints_of(model).items() if name not in latents}
        constrain(self, others)

    def forward(self, *inputs: Any) -> Any:
        """What the model gives with rounded weights."""
        weights = {name: latent.weight() for name, latent in self.items()}
        return functional_call(self.model, self.narrowing.narrow(weights), inputs)

    def items(self) -> list[tuple[str, Latent]]:
        """Names and latents."""
        return list(self._latents.items())

    def refit(self) -> float:
        """Takes the prices of all levels anew; the bits of all tensors."""
        return sum(latent.refit() for _, latent in self.items())

    def bury(self) -> None:
        """Leaves out from now on what has no effect any more."""
        self.narrowing.look({name: latent.levels for name, latent in self.items()})
        for name, mask in self.narrowing.masks({name: latent.mask.shape for name, latent in self.items()}).items():
            self._latents[name].mask.logical_and_(mask)

    def steer(self, now: float, goal: float) -> None:
        """Moves the penalty a little up where `now` (bits) is or soon will be above `goal`, else a little down."""
        error = math.log(max(now, 1.0) / goal)
        soon = error + _AHEAD * (error - float(self.error))
        self.error.fill_(error)
        self.price.mul_(math.exp(_SLOW * max(-1.0, min(1.0, _STIFF * soon))))

    def cost(self) -> Tensor:
        """The term of the loss: penalty x bits."""
        return self.price * torch.stack([latent.rate() for _, latent in self.items()]).sum()

    def release(self) -> None:
        """Puts the rounded weights into the model and wakes its parameters."""
        with torch.no_grad():
            for (parameter, trainable), (_, latent) in zip(self._resting, self.items(), strict=True):
                parameter.copy_(latent.weight())
                parameter.requires_grad_(trainable)
