"""A network whose weights and channel scales are random while it is trained: posteriors under a group prior.

Louizos, Ullrich, Welling 2017 (NIPS, "Bayesian compression for deep learning"), section 3, appendices. Notation:
w~ ~ N(mu, sigma^2) for each weight of convolutions and linear layers, mu being the weight of the network itself; z a
scale for each channel of a group, drawn for each example, on the output of the layer (behind its batch norm, which
would take it back); N training examples. By local reparametrization a layer gives conv(x, mu) + sqrt(conv(x^2,
sigma^2)) e, e ~ N(0, 1), drawn for each output.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from featherweight.numerics.horseshoe import (
    gamma_kl,
    inverse_gamma_kl,
    log_alpha,
    log_normal_moments,
    log_uniform_kl,
    negative_log_mode,
    normal_kl,
    product,
)
from featherweight.techniques.pruning.channel._gates import Gates, examples_in

Prior: TypeAlias = Literal["jeffreys", "horseshoe"]
Moments: TypeAlias = tuple[Tensor, Tensor]
"""Mean and variance."""

_START = -9.0  # of all log variances
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Posterior(nn.Module):
    """The network with what is not known of its weights and scales; runs inside `on`.

    What is learned beside the network are log variances, and means of scales, written start + speed * parameter: at the
    learning rate that suits weights they would need thousands of steps. `spread` is the horseshoe's scale of all
    scales; `kept` has for tensors that an earlier step has pruned a mask of what is left, which alone is random. In
    evaluation mode everything has its mean.
    """

    def __init__(
        self, model: nn.Module, gates: Gates, prior: Prior, *, speed: float, spread: float, kept: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self._kept = {name: mask.to(torch.float32) for name, mask in kept.items()}
        self.model = model
        self._gates, self._prior, self._speed, self._spread = gates, prior, speed, spread
        self.layers = {path: item for path, item in model.named_modules() if type(item) in _LAYERS}
        self._names: dict[str, str] = {}  # of tensors of the network: the parameter of its log variance
        self.log_variances = nn.ParameterDict()
        for path, layer in self.layers.items():
            for kind, tensor in layer.named_parameters(recurse=False):
                name = f"{path}.{kind}" if path else kind
                self._names[name] = name.replace(".", "/")
                self.log_variances[self._names[name]] = nn.Parameter(torch.zeros_like(tensor))
        self.scales = nn.ParameterList(nn.Parameter(self._scale(len(group))) for group in gates.groups)
        self.shared = nn.Parameter(torch.zeros(4))  # the horseshoe's s_a, s_b: two means, two log variances
        self.random = torch.Generator()
        self.weight = 0.0  # of the divergence in the loss: warm-up / N

    def forward(self, *inputs: Any) -> Any:
        """The network's output, with scales drawn for each example in training."""
        count = examples_in(inputs) if self.training else 0
        self._gates.values = [self._drawn(number, count) for number in range(len(self.scales))]
        return self.model(*inputs)

    @contextmanager
    def on(self) -> Iterator[None]:
        """The noise and the scales work inside; afterwards the modules are as before."""
        handles: list[RemovableHandle] = []
        try:
            for path, layer in self.layers.items():  # before the gates: what they scale has its noise
                handles.append(layer.register_forward_hook(partial(self._noise, path)))
            with self._gates.on():
                yield
        finally:
            for handle in handles:
                handle.remove()

    # what is known -------------------------------------------------------------------------------------------------

    def log_variance(self, name: str) -> Tensor:
        """log sigma^2 of a tensor of the network."""
        found: Tensor = _START + self._speed * self.log_variances[self._names[name]]
        return found

    def variance(self, name: str) -> Tensor:
        """sigma^2 of a tensor of the network, 0 where it was pruned."""
        found = self.log_variance(name).exp()
        return found * self._kept[name].to(found) if name in self._kept else found

    def has(self, name: str) -> bool:
        """Whether a tensor of the network is random."""
        return name in self._names

    def scale(self, number: int) -> Moments:
        """Mean and variance of the scales z of a group, (channels,) each."""
        if self._prior == "jeffreys":
            mean, log_variance = self._normal(number)
            return mean, log_variance.exp()
        return log_normal_moments(*self._log_normal(number))

    def scores(self) -> list[Tensor]:
        """By group how much noise each channel is, (channels,): log alpha, or -log of the mode of its own scale."""
        with torch.no_grad():
            if self._prior == "jeffreys":
                return [log_alpha(*self._normal(number)).double().cpu() for number in range(len(self.scales))]
            return [negative_log_mode(*self._own(number)).double().cpu() for number in range(len(self.scales))]

    def divergence(self) -> Tensor:
        """KL(posterior || prior) of all weights and scales, in nats."""
        tensors = dict(self.model.named_parameters(remove_duplicate=False))
        parts = []
        for name in self._names:
            costs = normal_kl(tensors[name], self.log_variance(name))
            parts.append((costs * self._kept[name].to(costs) if name in self._kept else costs).sum())
        if self._prior == "jeffreys":
            parts += [log_uniform_kl(log_alpha(*self._normal(number))).sum() for number in range(len(self.scales))]
        else:
            first, second = self._common()
            parts += [gamma_kl(*first, self._spread**2), inverse_gamma_kl(*second)]
            for number in range(len(self.scales)):
                own = self._factors(number)
                parts += [gamma_kl(*own[0]).sum(), inverse_gamma_kl(*own[1]).sum()]
        return torch.stack(parts).sum()

    def extra_loss(self, _: nn.Module) -> Tensor:
        """What training adds to the mean loss of the examples."""
        return self.weight * self.divergence()

    @torch.no_grad()
    def cap(self, largest: float) -> None:
        """Keeps the variance of the first layer's weights at most at `largest`."""
        for kind, _ in next(iter(self.layers.values())).named_parameters(recurse=False):
            path = next(iter(self.layers))
            parameter = self.log_variances[self._names[f"{path}.{kind}" if path else kind]]
            parameter.clamp_(max=(math.log(largest) - _START) / self._speed)

    # -----------------------------------------------------------------------------------------------------------------

    def _scale(self, channels: int) -> Tensor:
        """Zeros for what is learned of the scales of a group: `_normal` and `_factors` say what they stand for."""
        return torch.zeros(2 if self._prior == "jeffreys" else 4, channels)

    def _normal(self, number: int) -> Moments:
        mean, log_variance = self.scales[number]
        return 1 + mean, _START + self._speed * log_variance

    def _factors(self, number: int) -> tuple[Moments, Moments]:
        rows = self._speed * self.scales[number]
        return (rows[0], _START + rows[1]), (rows[2], _START + rows[3])

    def _common(self) -> tuple[Moments, Moments]:
        rows = self._speed * self.shared
        begin = 2 * math.log(self._spread)  # where the prior of s_a is, and s_b where their product is 1
        return (begin + rows[0], _START + rows[1]), (rows[2] - begin, _START + rows[3])

    def _own(self, number: int) -> Moments:
        """Log mean and log of the log variance of the channels' own scales, without the shared one."""
        return product(*self._factors(number))

    def _log_normal(self, number: int) -> Moments:
        return product(*self._common(), *self._factors(number))

    def _drawn(self, number: int, count: int) -> Tensor:
        """Scales of a group: a row for each of `count` examples, or their means where there is none."""
        if not count:
            return self.scale(number)[0]
        jeffreys = self._prior == "jeffreys"
        mean, log_variance = self._normal(number) if jeffreys else self._log_normal(number)
        noise = torch.randn(count, len(mean), generator=self.random).to(mean.device)
        found = mean + (log_variance / 2).exp() * noise
        return found if jeffreys else found.exp()

    def _noise(self, path: str, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not self.training:
            return output
        at = f"{path}." if path else ""
        weight = self.variance(f"{at}weight")
        bias = self.variance(f"{at}bias") if self.has(f"{at}bias") else None
        squares = inputs[0].square()
        if isinstance(module, nn.Linear):
            variance = functional.linear(squares, weight, bias)
        else:
            variance = module._conv_forward(squares, weight, bias)  # type: ignore[operator]  # of the three in _LAYERS
        noise = torch.randn(output.shape, generator=self.random).to(output)
        return output + (variance + 1e-8).sqrt() * noise
