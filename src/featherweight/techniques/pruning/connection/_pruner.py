"""The masks of the tensors that are being pruned, and how they shrink."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.numerics.masks import keep_largest
from featherweight.techniques._encoded import mask_of, pruned
from featherweight.techniques._selection import Weight
from featherweight.techniques.pruning.connection._allocation import Blend, Goal
from featherweight.training.constraints import constraints_of


class Pruner:
    """Holds no state of its own but the densities at the start: masks live in the encodings of the model.

    An interrupted training that is taken up again restores those, so pruning goes on where it stopped.
    """

    def __init__(self, model: nn.Module, weights: Sequence[Weight]) -> None:
        """Attaches masks that keep everything to the weights that have none, so that training can shrink them."""
        self.model, self.weights = model, list(weights)
        present = encodings_of(model)
        attach(model, {w.name: self._masked(w, present.get(w.name)) for w in self.weights})
        self.sizes = [weight.parameter.numel() for weight in self.weights]
        self.start = self.densities()

    def masks(self) -> list[Tensor]:
        """The masks as they are now, True where a weight is kept."""
        constraints = constraints_of(self.model)
        found = []
        for weight in self.weights:
            encoding = constraints.get(weight.name)
            found.append(mask_of(encoding if isinstance(encoding, Encoding) else None, weight.parameter))
        return found

    def densities(self) -> list[float]:
        """The share of each tensor that is kept now, 0..1."""
        return [float(mask.sum()) / mask.numel() for mask in self.masks()]

    def towards(self, goal: Goal, on: Blend) -> None:
        """Shrinks the masks: in each tensor the weights of largest magnitude stay. Nothing is ever given back."""
        masks = self.masks()
        survivors = [w.parameter.detach()[mask] for w, mask in zip(self.weights, masks, strict=True)]
        counts = goal.counts(survivors, self.sizes, self.start, on)
        smaller = {}
        for weight, mask, left, count in zip(self.weights, masks, survivors, counts, strict=True):
            if count < len(left):
                kept = torch.zeros_like(mask)
                kept[mask] = keep_largest(left.abs(), count)
                smaller[weight.name] = kept
        self.restrict(smaller)

    def restrict(self, masks: dict[str, Tensor]) -> None:
        """Prunes, by name, all that is False in the masks."""
        constraints = constraints_of(self.model)
        changed = {}
        for weight in self.weights:
            encoding = constraints[weight.name]
            if weight.name in masks and isinstance(encoding, Encoding):
                now = encoding.updated(weight.parameter.detach())
                changed[weight.name] = pruned(weight.name, now, weight.parameter, masks[weight.name])
        if changed:
            attach(self.model, changed)

    def _masked(self, weight: Weight, encoding: Encoding | None) -> Encoding:
        return pruned(weight.name, encoding, weight.parameter, mask_of(encoding, weight.parameter))
