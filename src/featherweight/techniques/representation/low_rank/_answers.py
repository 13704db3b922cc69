"""What a layer answers on the calibration data, and the thin layers that come nearest to it.

Notation: a layer of d outputs and weight W (d, columns); samples in rows: windows x of its input, answers y (d). Behind
it stand a batch norm (scale, shift) and perhaps a ReLU; all fitting is done on scale y + shift, as the ReLU sees it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.numerics.factor import Affine, by_response, nonlinear_response, spatial
from featherweight.techniques.representation.low_rank._following import Behind
from featherweight.training.samples import Sampling, Take, Tap, sample

_LEAST = 1e-6  # of the largest scale: outputs that the batch norm hardly lets through are constants


@dataclass(frozen=True)
class Answers:
    """Windows (samples, columns) that the layer reads now, and what it answered in the original network."""

    windows: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Thin:
    """Weights of the layers in a layer's place, first to last, and the bias of the last."""

    weights: tuple[Tensor, ...]
    bias: Tensor


@dataclass(frozen=True)
class Study:
    """Where answers come from: `examples` of the calibration data, `positions` of each map."""

    context: Context
    examples: int
    positions: int

    @torch.no_grad()
    def answers(self, now: nn.Module, original: nn.Module, path: str) -> Answers:
        """What the layer at `path` reads in the network as it is now, and answers in the original one."""
        windows: list[Tensor] = []
        wanted: list[Tensor] = []

        def take(read: Tensor, given: Tensor) -> None:
            windows.append(read.flatten(1))
            wanted.append(given)

        self._sample(now, original, path, take)
        layer = original.get_submodule(path)
        bias = layer.bias if isinstance(layer.bias, Tensor) else 0.0
        return Answers(torch.cat(windows), torch.cat(wanted) + bias)

    @torch.no_grad()
    def energies(self, model: nn.Module, path: str, after: Behind) -> Tensor:
        """The variances of the layer's answers along their principal directions, largest first, double."""
        wanted: list[Tensor] = []
        self._sample(model, model, path, lambda _, given: wanted.append(given))
        seen = after.scale * torch.cat(wanted).double()
        centred = seen - seen.mean(dim=0)
        values: Tensor = torch.linalg.eigvalsh(centred.T @ centred)
        return values.flip(0).clamp(min=0)

    def _sample(self, now: nn.Module, original: nn.Module, path: str, take: Take) -> None:
        sampling = Sampling(Tap(now, path, "input"), Tap(original, path), positions=self.positions)
        batches = self.context.batches("calibration", self.examples)
        sample(sampling, batches, take, self.context.generator("answers", path))


@dataclass(frozen=True)
class Fit:
    """How the map of given rank is found: through the ReLU with `rounds` at each penalty, or without it (0)."""

    rounds: int
    penalties: tuple[float, ...] = (0.01, 1.0)

    def __call__(self, responses: Tensor, rank: int, targets: Tensor, after: Behind) -> Affine:
        if self.rounds == 0 or not after.relu:
            return by_response(responses, rank, targets)
        schedule = [(penalty, self.rounds) for penalty in self.penalties]
        return nonlinear_response(responses, rank, targets, schedule)


@torch.no_grad()
def thinned(layer: nn.Module, answers: Answers, after: Behind, ranks: tuple[int, ...], fit: Fit) -> Thin:
    """The layer's weights cut to ranks (outputs') or (outputs', plane's): then the first is split in the plane too, and
    the last fitted again to what comes through.
    """
    weight = layer.get_parameter("weight").detach()
    matrix = weight.flatten(1).double()
    bias = layer.get_parameter("bias").detach().double() if layer.bias is not None else torch.zeros_like(after.shift)
    windows, targets = answers.windows.double(), after.scale * answers.wanted.double() + after.shift
    constant = after.scale * bias + after.shift
    found = fit(windows @ (after.scale[:, None] * matrix).T + constant, ranks[0], targets, after)
    narrow = found.right @ (after.scale[:, None] * matrix)
    if len(ranks) == 1:
        back, shift = found.left, found.bias + found.left @ (found.right @ constant)
        return _before_norm((narrow.reshape(ranks[0], *weight.shape[1:]),), back, shift, after, bias)
    columns, rows = spatial(narrow.reshape(ranks[0], *weight.shape[1:]), ranks[1])
    product = torch.einsum("rcak,nrkb->ncab", columns, rows).flatten(1)
    found = fit(windows @ product.T, ranks[0], targets, after)
    return _before_norm((columns, rows), found.left @ found.right, found.bias, after, bias)


def _before_norm(first: tuple[Tensor, ...], back: Tensor, shift: Tensor, after: Behind, bias: Tensor) -> Thin:
    """The last weight and bias so that they are right behind the batch norm, which stays."""
    passed = after.scale.abs() > _LEAST * after.scale.abs().max()
    scale = torch.where(passed, after.scale, torch.ones_like(after.scale))
    last = torch.where(passed[:, None], back / scale[:, None], torch.zeros_like(back))
    moved = torch.where(passed, (shift - after.shift) / scale, bias)
    return Thin((*first, last), moved)
