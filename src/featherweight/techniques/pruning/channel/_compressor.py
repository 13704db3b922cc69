"""The compressor of DeepIoT: a recurrent network that reads all layers and says which of their channels to keep.

S. Yao et al. 2017 (SenSys, "DeepIoT"), section 4. Notation: W (r, c) holds in column j all weights that make channel j
of one group; v = a W B (width,) with a (1, r) and B (c, width) goes into an LSTM that runs over the groups in the order
of the network; p = sigmoid(h C + start) (c,) are keep probabilities, C (width, c). The constant offset `start` is ours:
the paper sets the first probabilities by hand and lets the compressor take over.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

_RARE = 1e-6  # probabilities stay this far from 0 and 1, where their logarithms end
_DECAY = 0.9  # of the running means of squared gradients (RMSProp), and of mean and deviation of the loss


class Compressor(nn.Module):
    """Keep probabilities from weights, and what it needs to learn: all in buffers, so that checkpoints hold it.

    `shapes` are (r, c) of each group's W, `starts` the keep probability of each group at the start, 0 < start < 1.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], starts: Sequence[float], width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._count = len(shapes)
        self._starts = [math.log(start / (1 - start)) for start in starts]
        tensors = {"cell_in": (4 * width, width), "cell_state": (4 * width, width)}
        for number, (rows, columns) in enumerate(shapes):
            tensors[f"left_{number}"] = (1, rows)
            tensors[f"inner_{number}"] = (columns, width)
            tensors[f"outer_{number}"] = (width, columns)
        self._learned = ("cell_bias", *tensors)
        self.register_buffer("cell_bias", torch.zeros(4 * width))
        for name, shape in tensors.items():
            tensor = torch.empty(shape)
            nn.init.trunc_normal_(tensor, std=math.sqrt(2 / sum(shape)), generator=generator)
            self.register_buffer(name, tensor)
        for name in self._learned:
            self.register_buffer(f"squares_{name}", torch.zeros_like(self.get_buffer(name)))
        self.baseline: Tensor
        self.updates: Tensor
        self.register_buffer("baseline", torch.zeros(2))  # running mean and deviation of the loss
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Keep probabilities (c,) of each group, from its W (r, c)."""
        bias = self.get_buffer("cell_bias")
        hidden = cell = bias.new_zeros(1, len(bias) // 4)
        found = []
        for number, weight in enumerate(weights):
            read = self.get_buffer(f"left_{number}") @ weight @ self.get_buffer(f"inner_{number}")
            gates = read @ self.get_buffer("cell_in").T + hidden @ self.get_buffer("cell_state").T + bias
            enter, forget, content, leave = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * content.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            logits = (hidden @ self.get_buffer(f"outer_{number}"))[0] + self._starts[number]
            found.append(logits.sigmoid().clamp(_RARE, 1 - _RARE))
        return found

    def learn(
        self, weights: Sequence[Tensor], drawn: Sequence[Tensor], losses: Tensor, threshold: float, rate: float
    ) -> None:
        """One step of RMSProp down the expected loss.

        `drawn` are the choices (examples, c) of each group, 0 or 1, and `losses` (examples,) what they led to.
        """
        advantage = self.advantage(losses)
        tensors = {name: self.get_buffer(name).detach().requires_grad_() for name in self._learned}
        with torch.enable_grad():
            kept = [softened(p, threshold) for p in functional_call(self, tensors, (list(weights),))]
            surrogate = score_function(kept, drawn, advantage)
            gradients = torch.autograd.grad(surrogate, list(tensors.values()))
        with torch.no_grad():
            for name, gradient in zip(self._learned, gradients, strict=True):
                squares = self.get_buffer(f"squares_{name}").mul_(_DECAY).addcmul_(gradient, gradient, value=1 - _DECAY)
                self.get_buffer(name).addcdiv_(gradient, squares.sqrt().add_(1e-8), value=-rate)

    def advantage(self, losses: Tensor) -> Tensor:
        """(loss - mean) / max(1, deviation), both running; they take in these losses afterwards."""
        now = torch.stack([losses.mean(), losses.std(correction=0)]).to(self.baseline)
        if not int(self.updates):
            self.baseline.copy_(now)
        mean, deviation = self.baseline.clone()
        self.baseline.mul_(_DECAY).add_(now, alpha=1 - _DECAY)
        self.updates += 1
        advantage: Tensor = (losses.to(mean) - mean) / deviation.clamp(min=1.0)
        return advantage


def softened(keep: Tensor, threshold: float) -> Tensor:
    """Keep probabilities as they are drawn from: those below the threshold half as large, so that they can return."""
    return torch.where(keep < threshold, 0.5 * keep, keep)


def score_function(keep: Sequence[Tensor], drawn: Sequence[Tensor], advantage: Tensor) -> Tensor:
    """A scalar whose gradient is an estimate of that of the expected loss: mean of log q(drawn) * advantage.

    `keep` are the probabilities (c,) that `drawn` (examples, c), 0 or 1, come from; `advantage` is (examples,).
    """
    total = torch.zeros_like(advantage)
    for p, z in zip(keep, drawn, strict=True):
        total = total + (p * z + (1 - p) * (1 - z)).log().sum(1)
    return (total * advantage).mean()
