"""Makes one layer of two that have nothing between them. Nothing is lost: the network computes the same.

y = W2 (W1 x + b1) + b2 is one linear layer with W = W2 W1, and a convolution is one behind or in front of a 1x1
convolution (graph/fold.py has the cases). Networks have such neighbours where a block between them was removed, or
where they were trained wider than they run: S. Guo et al. 2020 (NeurIPS, "ExpandNets"), section 3. Batch norms go with
architecture.blocks.fold_norms.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.attach import detach, encodings_of
from featherweight.encodings.dense import Dense
from featherweight.errors import TechniqueError, TraceError
from featherweight.graph.fold import Pair, merged, pairs_of
from featherweight.graph.record import record
from featherweight.graph.surgery import replace
from featherweight.graph.trace import evaluating
from featherweight.techniques.base import Technique

_TOLERANCE = 1e-4  # of the largest output: what rounding may change


@dataclass(frozen=True, kw_only=True)
class Merge(Technique):
    """Makes one layer of neighbouring linear layers, and of convolutions with 1x1 convolutions. Exact, up to rounding.

    A pair stays where the one layer would have more weights than the two (a thin pair of low rank is thin on purpose),
    where something else reads what is between them, or where weights are kept in an encoding with structure.
    """

    survey: ClassVar[str] = "Guo et al. 2020, ExpandNets: Linear Over-parameterization to Train Compact Networks"
    applies_to: ClassVar[tuple[str, ...]] = ("linear behind linear", "conv beside 1x1 conv")

    grow: bool = False  # merge also where the one layer has more weights than the two

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with one layer in the first place of each pair and `nn.Identity` in the second.

        Records "merged": [first, second] paths, and "left": those that stay two, with the reason.

        Raises: TechniqueError when no pair can be merged, or the model cannot be traced.
        """
        done: list[Pair] = []
        left: dict[Pair, str] = {}
        while (pair := self._next(model, context, left)) is not None:
            done.append(pair)
        told = {f"{pair.first}, {pair.second}": reason for pair, reason in left.items()}
        if not done:
            raise TechniqueError(
                "the model has no neighbouring layers that can be merged",
                where=type(model).__name__,
                value=told,
                fix="Leave the step out.",
            )
        context.record("merged", [[pair.first, pair.second] for pair in done])
        context.record("left", told)
        return model

    def _next(self, model: nn.Module, context: Context, left: dict[Pair, str]) -> Pair | None:
        """Merges the first pair that can be; None when there is none. Adds to `left` what cannot."""
        try:
            pairs = pairs_of(record(model, context.example).graph, model)
        except TraceError as error:
            raise TechniqueError(
                "the model cannot be traced", where=error.where, value=error.what, fix=error.fix
            ) from error
        for pair in pairs:
            if pair in left:
                continue
            reason = self._merge(model, pair, context)
            if not reason:
                return pair
            left[pair] = reason
        return None

    def _merge(self, model: nn.Module, pair: Pair, context: Context) -> str:
        """Merges one pair; gives the reason, with nothing changed, where that cannot be done."""
        first, second = (model.get_submodule(path) for path in (pair.first, pair.second))
        one = merged(first, second)
        if one is None:
            return "there is no such layer"
        if not self.grow and _weights(one) > _weights(first) + _weights(second):
            return f"one layer has {_weights(one)} weights, the two have {_weights(first) + _weights(second)}"
        own = {f"{path}.{name}" for path in (pair.first, pair.second) for name in ("weight", "bias")}
        encodings = {name: item for name, item in encodings_of(model).items() if name in own}
        if not all(isinstance(item, Dense) for item in encodings.values()):
            return f"weights are kept as {', '.join(sorted({type(item).__name__ for item in encodings.values()}))}"
        new = dict.fromkeys(_names(model, first), one) | {name: nn.Identity() for name in _names(model, second)}
        if not _agrees(model, new, context):
            return "the code around them reads something of them"
        detach(model, set(encodings))
        replace(model, new)
        return ""


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _names(model: nn.Module, wanted: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules(remove_duplicate=False) if module is wanted]


def _agrees(model: nn.Module, new: Mapping[str, nn.Module], context: Context) -> bool:
    """Whether the network computes the same on the example with these modules in their places."""
    with evaluating(model), torch.no_grad():
        expected = _outputs(model, context)
        try:
            with _placed(model, new):
                found = _outputs(model, context)
        except TraceError:
            return False
    return all(_close(a, b) for a, b in zip(found, expected, strict=True))


def _outputs(model: nn.Module, context: Context) -> list[Tensor]:
    try:
        output = model(*context.example)
    except Exception as error:  # whatever the model's code raises
        raise TraceError("the model does not run", value=str(error)) from error
    return [item.clone() for item in torch.utils._pytree.tree_leaves(output) if isinstance(item, Tensor)]


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not found.numel():
        return found.shape == expected.shape
    rounding = max(_TOLERANCE, 8 * torch.finfo(expected.dtype).eps) if expected.is_floating_point() else 0.0
    most = rounding * float(expected.double().abs().max())
    return bool((found.double() - expected.double()).abs().max() <= most)


@contextmanager
def _placed(model: nn.Module, new: Mapping[str, nn.Module]) -> Iterator[None]:
    old = {name: model.get_submodule(name) for name in new}
    try:
        for name, module in new.items():
            setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], module)
        yield
    finally:
        for name, module in old.items():
            setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], module)
