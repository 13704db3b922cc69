"""Leaves out of the forward pass what has died: units without a way in, or that nothing reads.

A unit (a neuron, a filter) whose weights and bias are all zero gives zero, and stays zero through activations and
pooling that keep it; one that no weight reads has no effect. Without either the outputs are what they were, and the
model, called with narrower weights, takes less time: a network that shrinks to a tenth trains several times faster. A
unit that was left out does not come back.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from featherweight.core.context import Context
from featherweight.errors import TraceError
from featherweight.graph.trace import trace
from featherweight.techniques._units import Reader, Units, units_of

Weights = dict[str, Tensor]


class Narrowing(nn.Module):
    """Which units of a model are alive, as buffers that checkpoints know."""

    def __init__(self, found: list[Units], sizes: list[int], device: torch.device) -> None:
        super().__init__()
        self.found = found
        for number, size in enumerate(sizes):
            self.register_buffer(f"alive_{number}", torch.ones(size, dtype=torch.bool, device=device))

    @classmethod
    def of(cls, model: nn.Module, names: set[str], context: Context) -> "Narrowing":
        """For the parameters `names` of a model. Finds nothing where the model cannot be followed or narrowed."""
        tensors = dict(model.named_parameters())
        device = next(model.parameters()).device
        if not names:
            return cls([], [], device)
        try:
            found = [units for units in units_of(trace(model, context.example)) if _fits(units, names, tensors)]
        except TraceError:
            found = []
        sizes = [len(tensors[units.weight]) for units in found]
        made = cls(found, sizes, device)
        return made if made._works(model, context) else cls([], [], device)

    def alive(self) -> list[Tensor]:
        """For each layer its units that are alive, bool."""
        return [self.get_buffer(f"alive_{number}") for number in range(len(self.found))]

    def look(self, levels: Mapping[str, Tensor]) -> None:
        """Buries the units that `levels` (by parameter) leave without effect, until no more follow from that."""
        before = -1
        while before != (before := sum(int(alive.sum()) for alive in self.alive())):
            masks = self.masks({name: item.shape for name, item in levels.items()})
            present = {name: item * masks[name] if name in masks else item for name, item in levels.items()}
            for units, alive in zip(self.found, self.alive(), strict=True):
                alive &= _has_input(units, present) & _is_read(units, present, len(alive))
                if not bool(alive.any()):
                    alive[0] = True  # a layer needs one, if only to give zero

    def masks(self, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
        """By parameter that is concerned: False where a weight belongs to a unit that was left out."""
        found: Weights = {}
        for units, alive in zip(self.found, self.alive(), strict=True):
            for name in filter(None, (units.weight, units.bias)):
                mask = found.setdefault(name, torch.ones(shapes[name], dtype=torch.bool, device=alive.device))
                mask[~alive] = False
            for reader in units.readers:
                mask = found.setdefault(
                    reader.weight, torch.ones(shapes[reader.weight], dtype=torch.bool, device=alive.device)
                )
                _by_unit(mask, len(alive))[:, ~alive] = False
        return found

    def narrow(self, weights: Weights) -> Weights:
        """The tensors without rows and columns of units that were left out; the others as they are."""
        weights = dict(weights)
        for units, alive in zip(self.found, self.alive(), strict=True):
            if bool(alive.all()):
                continue
            places = alive.nonzero().flatten()
            for name in filter(None, (units.weight, units.bias)):
                weights[name] = weights[name].index_select(0, places)
            for reader in units.readers:
                weights[reader.weight] = _narrowed(weights[reader.weight], reader, len(alive), places)
        return weights

    def take_out(self, model: nn.Module) -> None:
        """Gives the layers of `model` narrower parameters, without the units that were left out."""
        old = dict(model.named_parameters())
        for name, tensor in self.narrow({key: item.detach() for key, item in old.items()}).items():
            if tensor.shape != old[name].shape:
                layer, _, part = name.rpartition(".")
                module = model.get_submodule(layer)
                setattr(module, part, nn.Parameter(tensor, requires_grad=old[name].requires_grad))
                _tell_sizes(module)

    def _works(self, model: nn.Module, context: Context) -> bool:
        """Whether the model gives the same without the first unit of each layer as with zeros in its place."""
        if not self.found or any(len(alive) < 2 for alive in self.alive()):
            return False
        modes = {module: module.training for module in model.modules()}
        for alive in self.alive():
            alive[0] = False
        try:
            with torch.no_grad():
                weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
                masks = self.masks({name: tensor.shape for name, tensor in weights.items()})
                zeroed = weights | {name: weights[name] * mask for name, mask in masks.items()}
                model.eval()
                wanted = functional_call(model, zeroed, context.example)
                given = functional_call(model, self.narrow(zeroed), context.example)
                return isinstance(given, Tensor) and torch.allclose(given, wanted, rtol=1e-3, atol=1e-5)
        except (RuntimeError, ValueError):  # a shape that the model has written down somewhere
            return False
        finally:
            for module, mode in modes.items():
                module.training = mode
            for alive in self.alive():
                alive[0] = True


def _tell_sizes(module: nn.Module) -> None:
    """Sets what a layer says of its own size."""
    rows, columns = module.get_parameter("weight").shape[:2]
    for name, size in (
        ("out_features", rows),
        ("in_features", columns),
        ("out_channels", rows),
        ("in_channels", columns),
    ):
        if hasattr(module, name):
            setattr(module, name, size)


def _fits(units: Units, names: set[str], tensors: Mapping[str, Tensor]) -> bool:
    """Whether all weights around the units are given, and a unit that gives zero arrives as zero everywhere."""
    concerned = {units.weight, *(reader.weight for reader in units.readers)} | ({units.bias} - {None})
    if not concerned <= names or not units.readers:
        return False
    zeros = torch.zeros(len(tensors[units.weight]), device=tensors[units.weight].device)
    arriving = [None if reader.constant is None else reader.constant(zeros) for reader in units.readers]
    return all(values is not None and bool((values == 0).all()) for values in arriving)


def _by_unit(tensor: Tensor, units: int) -> Tensor:
    """A view of a reader's weight by output, unit and what lies between: shape (outputs, units, m)."""
    return tensor.view(len(tensor), units, -1)


def _narrowed(weight: Tensor, reader: Reader, units: int, places: Tensor) -> Tensor:
    columns = weight.reshape(len(weight), units, -1).index_select(1, places)
    return columns.reshape(len(weight), len(places) * reader.spread, *weight.shape[2:])


def _has_input(units: Units, levels: Mapping[str, Tensor]) -> Tensor:
    found = levels[units.weight].flatten(1).any(1)
    return found if units.bias is None else found | (levels[units.bias] != 0)


def _is_read(units: Units, levels: Mapping[str, Tensor], count: int) -> Tensor:
    read = [_by_unit(levels[reader.weight], count).any(2).any(0) for reader in units.readers]
    return torch.stack(read).any(0)
