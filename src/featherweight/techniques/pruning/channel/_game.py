"""A network and its compressor as one module to train: the critic learns by its optimiser, the compressor beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from featherweight.core.context import Context
from featherweight.graph.surgery import Group
from featherweight.techniques.pruning.channel._compressor import Compressor, softened
from featherweight.techniques.pruning.channel._gates import Gates, examples_in


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the game is played by: see CompressorCritic for the fields."""

    ratio: float
    threshold: float
    stages: int
    rate: float


class Game(nn.Module):
    """Runs the network with choices drawn for each example; `hooks` are given to the training.

    All that lasts from step to step is in parameters and buffers, so that a checkpoint holds it.
    """

    def __init__(self, model: nn.Module, gates: Gates, compressor: Compressor, rules: Rules, context: Context) -> None:
        super().__init__()
        self.model, self.compressor = model, compressor
        self._gates, self._rules, self._context = gates, rules, context
        self._random = torch.Generator()
        self._weights: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))
        self._tensors = dict(model.named_parameters(remove_duplicate=False))

    def forward(self, *inputs: Any) -> Any:
        """The network's output, each example with its own choice of channels."""
        self._weights = self.weights()
        with torch.no_grad():
            keep = [softened(p, float(self.threshold)) for p in self.compressor(self._weights)]
        count = examples_in(inputs)
        self._drawn = [self._draw(p, count) for p in keep]
        self._gates.values = list(self._drawn)
        return self.model(*inputs)

    def weights(self) -> list[Tensor]:
        """The matrices W (weights, channels) of all groups, float32."""
        return [matrix(self._tensors, group) for group in self._gates.groups]

    @torch.no_grad()
    def keep(self) -> list[Tensor]:
        """The keep probabilities of all groups."""
        return list(self.compressor(self.weights()))

    def on_step(self, model: nn.Module, step: int, total: int) -> None:
        """Seeds the choices of the step, and raises the threshold at the beginning of a stage."""
        self._random.manual_seed(self._context.generator("choices", step).initial_seed())
        stage, before = (max(0, at) * (self._rules.stages + 1) // total for at in (step, step - 1))
        if stage > before and below(self.keep(), float(self.threshold)) < self._rules.ratio:
            self.threshold += self._rules.threshold / self._rules.stages

    def on_batch(self, model: nn.Module, output: Any, target: Any) -> None:
        """Lets the compressor learn from the loss of each example."""
        with torch.no_grad():
            losses = losses_of(self._context, output, target, len(self._drawn[0]))
        self.compressor.learn(self._weights, self._drawn, losses, float(self.threshold), self._rules.rate)

    def _draw(self, keep: Tensor, count: int) -> Tensor:
        lots = torch.rand(count, len(keep), generator=self._random)
        return (lots.to(keep.device) < keep).to(keep.dtype)


def below(keep: Sequence[Tensor], threshold: float) -> float:
    """The share of channels whose keep probability is below the threshold."""
    return sum(int((p < threshold).sum()) for p in keep) / sum(len(p) for p in keep)


def matrix(tensors: dict[str, nn.Parameter], group: Group) -> Tensor:
    """W (weights, channels) of a group: all rows that make a channel, with biases, and scales of norms, detached."""
    found = []
    for slot in group.slots:
        tensor = tensors.get(slot.tensor)
        if slot.role in ("out", "each", "scale") and tensor is not None:
            values = tensor.detach().float().transpose(0, slot.dim)
            index = torch.from_numpy(slot.index).to(values.device)
            found.append(values[index].reshape(len(group), -1))
    return torch.cat(found, dim=1).T


def losses_of(context: Context, output: Any, target: Any, count: int) -> Tensor:
    """The loss of each of `count` examples alone, shape (count,)."""
    return torch.stack([context.loss(_one(output, i, count), _one(target, i, count)).detach() for i in range(count)])


def _one(tree: Any, place: int, count: int) -> Any:
    """One example of a tree of tensors, still as a batch."""

    def cut(item: Any) -> Any:
        return item[place : place + 1] if isinstance(item, Tensor) and item.dim() and len(item) == count else item

    return pytree.tree_map(cut, tree)


@torch.no_grad()
def fold(model: nn.Module, gates: Gates, factors: Sequence[Tensor]) -> None:
    """Makes the factors of the gates, (channels,) for each group, a part of the weights: the network computes the same.

    Where channels are made, scales and shifts of the norm or rows and biases of the layer take them; those of recurrent
    units go into the columns of what reads them.
    """
    tensors = dict(model.named_parameters(remove_duplicate=False))
    makers = gates.modules
    for number, (group, values) in enumerate(zip(gates.groups, factors, strict=True)):
        columns = gates.recurrent(number)
        for slot in group.slots:
            tensor, path = tensors.get(slot.tensor), slot.tensor.rpartition(".")[0]
            rows = slot.role != "in" and number in makers.get(path, ())
            if tensor is not None and (rows or (columns and slot.role == "in")):
                index = torch.from_numpy(slot.index)
                spread = torch.ones(tensor.shape[slot.dim], dtype=values.dtype)
                spread[index] = values.cpu()[:, None].expand(index.shape)
                shape = [1] * tensor.dim()
                shape[slot.dim] = -1
                tensor.mul_(spread.view(shape).to(tensor))
