"""What a layer sees and what it should give: inputs and outputs at sampled positions, from one or two models.

Notation: a convolution or linear layer with c input channels, a kernel of `taps` places (1 for linear) and n outputs.
Each sampled output position of each example gives one row: X (rows, c, taps), the patch of the padded input that this
position reads, and Y (rows, n), what the layer gives there, without its bias. For an unpruned layer (of one group)
Y = X.flatten(1) W^T with W = weight.flatten(1). Source: He et al. 2017 (ICCV, "Channel pruning for accelerating very
deep neural networks"), section 3: X from the model as pruned so far and Y from the original, so that errors do not add
up; section 3.3: the shortcut of residual blocks.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError, UsageError
from featherweight.training.patches import Layer, gathered, output_space, patches

Take = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Tap:
    """A place in a model: what goes into the module of this name (its first input) or comes out of it."""

    model: nn.Module
    name: str
    side: Literal["input", "output"] = "output"

    @property
    def module(self) -> nn.Module:
        """The module.

        Raises: UsageError when the model has none of this name.
        """
        try:
            return self.model.get_submodule(self.name)
        except AttributeError as error:
            raise UsageError("the model has no module of this name", where="layer", value=self.name) from error

    @property
    def layer(self) -> Layer:
        """The module as a layer that can be sampled.

        Raises: TechniqueError when it is no convolution or linear layer.
        """
        module = self.module
        if not isinstance(module, Layer):
            fix = "Only Conv1d, Conv2d, Conv3d and Linear can be sampled."
            raise TechniqueError("layer has no patches", where=self.name, value=type(module).__name__, fix=fix)
        return module


@dataclass(frozen=True)
class Sampling:
    """What is sampled.

    `inputs`: the layer whose inputs are X. `outputs`: the layer that gives Y, in the same model or another, of as many
    places. (Their sides are not looked at.) `shortcut`: for the last layer of a residual branch, the value that is
    added to its output, as the original (first) and the pruned model (second) have it; Y then makes up for their
    difference. `positions` >= 1: how many different output positions of each example are drawn, all where there are no
    more.
    """

    inputs: Tap
    outputs: Tap
    shortcut: tuple[Tap, Tap] | None = None
    positions: int = 10

    def __post_init__(self) -> None:
        if self.positions < 1:
            raise UsageError("at least one position an example must be drawn", value=self.positions)
        one, other = self.inputs.layer, self.outputs.layer
        if one.weight.dim() != other.weight.dim():
            kinds = type(one).__name__, type(other).__name__
            raise TechniqueError("the layer is not of one kind in both models", where=self.inputs.name, value=kinds)

    def taps(self) -> list[Tap]:
        """Where X, Y and the shortcut are seen."""
        source, target = self.inputs, self.outputs
        return [Tap(source.model, source.name, "input"), Tap(target.model, target.name), *(self.shortcut or ())]


def sample(sampling: Sampling, batches: Iterable[Batch], take: Take, generator: torch.Generator) -> int:
    """Calls `take(X, Y)` for every batch and every call of the layer in it; gives how many rows there were.

    X has the dtype of the inputs, Y of the outputs; both stay on the models' device. Positions come from `generator`
    (on the CPU) and are the same for X and Y. Models run in evaluation mode, without gradients; each module's mode is
    put back. After the first batch they stop behind the last call of the layer. A new bias is the bias of the layer in
    `outputs` plus the intercept of a fit.

    Raises: TechniqueError when the layer is not called, or gives outputs of another shape in the other model.
    """
    taps, rows, expected = sampling.taps(), 0, None
    with torch.no_grad(), _evaluating(taps):
        for batch in batches:
            calls = _calls(taps, batch, expected)
            expected = len(calls)
            for values in calls:
                x, y = _rows(sampling, values, generator)
                take(x, y)
                rows += len(x)
    return rows


def by_group(inputs: Tensor, outputs: Tensor, groups: int) -> list[tuple[Tensor, Tensor]]:
    """X and Y of each group of a grouped convolution, as views; they go with the group's rows of the weight."""
    return list(zip(inputs.chunk(groups, dim=1), outputs.chunk(groups, dim=1), strict=True))


def _rows(sampling: Sampling, values: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """X and Y of one call; `values` are what the taps saw."""
    source, target = sampling.inputs.layer, sampling.outputs.layer
    x, *maps = (_batched(source, value) for value in values)
    if not isinstance(target, nn.Linear):
        maps = [value.movedim(1, -1) for value in maps]
    shapes = {(*output_space(source, x), target.weight.shape[0]), *(tuple(value.shape) for value in maps)}
    if len(shapes) > 1:
        what = "outputs and shortcuts must have one shape in both models"
        raise TechniqueError(what, where=sampling.inputs.name, value=sorted(shapes))
    flat = [value.reshape(len(x), -1, value.shape[-1]) for value in maps]
    positions = _drawn(len(x), flat[0].shape[1], sampling.positions, generator).to(x.device)
    y, *shortcut = (gathered(value, positions).flatten(0, 1) for value in flat)
    if target.bias is not None:
        y = y - target.bias
    if shortcut:
        y = y + (shortcut[0] - shortcut[1])
    return patches(source, x, positions), y


def _batched(layer: Layer, value: Tensor) -> Tensor:
    """With a dimension for examples, where a layer was given one example alone."""
    alone = 1 if isinstance(layer, nn.Linear) else 1 + len(layer.kernel_size)
    return value[None] if value.dim() == alone else value


def _drawn(examples: int, places: int, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` different places for each example, int64 (examples, k)."""
    if places <= count:
        return torch.arange(places).expand(examples, -1)
    return torch.rand(examples, places, generator=generator).topk(count, dim=1).indices


def _calls(taps: list[Tap], batch: Batch, expected: int | None) -> list[list[Tensor]]:
    """For each call of the layer, what the taps saw. Models stop after as many calls as are `expected`, if known."""
    seen: list[list[Tensor]] = [[] for _ in taps]
    with ExitStack() as hooks:
        for tap, values in zip(taps, seen, strict=True):
            of_model = [others for other, others in zip(taps, seen, strict=True) if other.model is tap.model]
            hooks.callback(_hooked(tap, values, of_model, expected).remove)
        for model in {id(tap.model): tap.model for tap in taps}.values():
            with suppress(_EnoughSeen):
                model(*batch.inputs)
    counts = [len(values) for values in seen]
    if min(counts) == 0 or len(set(counts)) > 1:
        names = ", ".join(dict.fromkeys(tap.name for tap in taps))
        what = "must be called by the model itself, as often in both models and as the shortcut"
        raise TechniqueError(what, where=names, value=counts)
    return [[*values] for values in zip(*seen, strict=True)]


class _EnoughSeen(Exception):  # noqa: N818 - no error: it ends a run whose rest nobody needs
    pass


def _hooked(tap: Tap, values: list[Tensor], of_model: list[list[Tensor]], expected: int | None) -> RemovableHandle:
    def keep(value: object) -> None:
        if not isinstance(value, Tensor):
            raise TechniqueError(f"its {tap.side} is not one tensor", where=tap.name, value=type(value).__name__)
        values.append(value.clone())  # what comes next may work in place: a ReLU, or the sum of a residual block
        if expected is not None and min(len(others) for others in of_model) >= expected:
            raise _EnoughSeen

    def before(_: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
        keep(next(iter((*given, *named.values())), None))

    if tap.side == "input":
        return tap.module.register_forward_pre_hook(before, with_kwargs=True)
    return tap.module.register_forward_hook(lambda _module, _given, got: keep(got))


@contextmanager
def _evaluating(taps: list[Tap]) -> Iterator[None]:
    modes = {module: module.training for tap in taps for module in tap.model.modules()}
    for tap in taps:
        tap.model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
