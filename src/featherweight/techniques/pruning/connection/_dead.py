"""Prunes what no longer has an effect: the ways into units that nothing reads, and the ways out of constant units.

Han et al. 2015, section 3.5: neurons without connections on one side can lose those on the other. A unit whose
inputs are all pruned is a constant, which goes into the biases of its readers. The outputs of the network stay what
they are, up to the rounding of that sum.
"""

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.encodings.dense import Dense
from featherweight.errors import TraceError
from featherweight.graph.trace import trace
from featherweight.techniques._units import Reader, Units, units_of
from featherweight.techniques.pruning.connection._pruner import Pruner
from featherweight.training.constraints import constraints_of


def prune_dead(pruner: Pruner, context: Context) -> int | None:
    """Shrinks the masks by all that has no effect and gives the number of weights; None for an untraceable model."""
    layered = [weight.kind in ("conv", "linear") for weight in pruner.weights]
    if sum(layered) < 2 or not any(_has_gap(mask) for mask in pruner.masks()):
        return 0  # spares the trace
    try:
        found = units_of(trace(pruner.model, context.example))
    except TraceError:
        return None
    cleaner = _Cleaner(pruner)
    before = sum(int(mask.sum()) for mask in cleaner.masks.values())
    with torch.no_grad():
        while any(cleaner.clean(units) for units in found):
            pass
    pruner.restrict(cleaner.masks)
    return before - sum(int(mask.sum()) for mask in cleaner.masks.values())


def _has_gap(mask: Tensor) -> bool:
    """Whether an output or an input of the layer has lost all its weights: without one, no unit can be dead."""
    rows = mask.flatten(1)
    return not bool(rows.any(1).all()) or not bool(mask.any(0).all())


class _Cleaner:
    def __init__(self, pruner: Pruner) -> None:
        self.model: nn.Module = pruner.model
        self.tensors = dict(pruner.model.named_parameters())
        names = [weight.name for weight in pruner.weights]
        self.masks = {name: mask.clone() for name, mask in zip(names, pruner.masks(), strict=True)}

    def clean(self, units: Units) -> bool:
        """Prunes around one layer; whether anything changed."""
        if units.weight not in self.masks:
            return False
        rows = self.masks[units.weight].flatten(1)
        read = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for reader in units.readers:
            read |= self._columns(reader, len(rows)).any((0, 2))
        unread = rows.any(1) & ~read
        self.masks[units.weight][unread] = False
        if units.bias is not None and self._is_free(units.bias):
            self.tensors[units.bias][~read] = 0
        return bool(unread.any()) | self._fold(units, ~rows.any(1) & read)

    def _fold(self, units: Units, constant: Tensor) -> bool:
        """Moves units without inputs into the biases of all their readers, where that is exact for each of them."""
        values = torch.zeros(len(constant), device=constant.device, dtype=self.tensors[units.weight].dtype)
        if units.bias is not None:
            values = self.tensors[units.bias].detach().clone()
        arriving = []
        for reader in units.readers:
            found = None if reader.constant is None else reader.constant(values)
            if found is None or reader.weight not in self.masks:
                return False
            constant &= torch.isfinite(found)
            if reader.bias is None or not self._is_free(reader.bias):
                constant &= found == 0
            arriving.append(found)
        for reader, found in zip(units.readers, arriving, strict=True):
            self._move(reader, found, constant)
        return bool(constant.any())

    def _move(self, reader: Reader, values: Tensor, constant: Tensor) -> None:
        weight = self.tensors[reader.weight] * self.masks[reader.weight]
        parts = weight.reshape(len(weight), len(constant), -1).sum(2)
        if reader.bias is not None and self._is_free(reader.bias):
            self.tensors[reader.bias].add_(parts[:, constant] @ values[constant])
        self._columns(reader, len(constant))[:, constant] = False

    def _columns(self, reader: Reader, units: int) -> Tensor:
        """A view of the reader's mask by output, unit and what lies between: shape (outputs, units, m)."""
        mask = self.masks.get(reader.weight)
        if mask is None:
            mask = torch.ones(self.tensors[reader.weight].shape, dtype=torch.bool)
        return mask.view(len(mask), units, -1)

    def _is_free(self, name: str) -> bool:
        """Whether a bias can take any value: it is a parameter that nothing but a precision binds."""
        constraint = constraints_of(self.model).get(name)
        return name in self.tensors and (constraint is None or isinstance(constraint, Dense))
