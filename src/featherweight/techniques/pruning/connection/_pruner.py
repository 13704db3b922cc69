"""The masks of the tensors that are being pruned, and how they shrink."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from featherweight.encodings.attach import attach, detach
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.numerics.masks import keep_largest
from featherweight.techniques._encoded import mask_of, pruned
from featherweight.techniques._selection import Weight
from featherweight.techniques.pruning.connection._allocation import Blend, Goal, Share
from featherweight.training.constraints import constraints_of


class Pruner:
    """Holds no state of its own but the densities at the start: masks live in the encodings of the model.

    An interrupted training that is taken up again restores those, so pruning goes on where it stopped.
    """

    def __init__(self, model: nn.Module, weights: Sequence[Weight]) -> None:
        self.model, self.weights = model, list(weights)
        self.sizes = [weight.parameter.numel() for weight in self.weights]
        self.start = self.densities()

    def open(self) -> None:
        """Attaches masks that keep everything to the weights that have none.

        A training that is interrupted and taken up again finds the masks it made only where there was one before.
        """
        present = constraints_of(self.model)
        whole = [w for w in self.weights if w.name not in present or not isinstance(present[w.name], Sparse)]
        self.restrict({w.name: torch.ones_like(w.parameter, dtype=torch.bool) for w in whole})

    def close(self) -> None:
        """Takes off the masks that keep everything, where they mask plain weights: they would only cost bytes."""
        found = [(w, constraints_of(self.model).get(w.name)) for w in self.weights]
        idle = {
            weight.name
            for weight, item in found
            if isinstance(item, Sparse) and isinstance(item.inner, Dense) and bool(item.mask.all())
            if item.inner.stored == weight.parameter.dtype
        }
        if idle:
            detach(self.model, idle)

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
        left = [int(mask.sum()) for mask in masks]
        survivors = [partial(_survivors, w, mask) for w, mask in zip(self.weights, masks, strict=True)]
        shares = [Share(*item) for item in zip(self.sizes, self.start, left, survivors, strict=True)]
        for weight, mask, share, count in zip(self.weights, masks, shares, goal.counts(shares, on), strict=True):
            if count < share.left:
                kept = torch.zeros_like(mask)
                kept[mask] = keep_largest(share.survivors().abs_(), count)
                self.restrict({weight.name: kept})

    def restrict(self, masks: dict[str, Tensor]) -> None:
        """Prunes, by name, all that is False in the masks."""
        constraints = constraints_of(self.model)
        for weight in self.weights:
            encoding = constraints.get(weight.name)
            if weight.name in masks:
                now = encoding.updated(weight.parameter.detach()) if isinstance(encoding, Encoding) else None
                attach(self.model, {weight.name: pruned(weight.name, now, weight.parameter, masks[weight.name])})


def _survivors(weight: Weight, mask: Tensor) -> Tensor:
    return weight.parameter.detach()[mask]
