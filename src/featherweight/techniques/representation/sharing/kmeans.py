"""Lets the weights of a tensor share few values, found by k-means and trained on.

Survey [35]: Han, Mao and Dally 2016 (ICLR, "Deep compression"), section 3. A tensor of n weights becomes n indices
into k = 2^bits centroids. Of a pruned tensor only the survivors are clustered, and the mask stays the authority over
zeros: a centroid may lie anywhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, EncodingError
from featherweight.numerics.clustering import kmeans
from featherweight.techniques._encoded import shared, survivors_of
from featherweight.techniques._selection import (
    WEIGHTS,
    Weight,
    check_setting,
    check_values,
    named,
    select,
    value_for,
    with_values,
)
from featherweight.techniques.base import PerTensor
from featherweight.techniques.representation.sharing._mean_gradient import MeanGradient
from featherweight.training.constraints import Constraint, constrain, constraints_of


@dataclass(frozen=True, kw_only=True)
class Kmeans(PerTensor):
    """Lets the weights of each tensor share 2^bits values, found by k-means and trained on. Survey [35], Han et al.

    Assignments stay as k-means made them; only the shared values are trained, each with the sum of the gradients of
    its weights, as in the paper. Under plain SGD that sum grows with the size of the cluster, so the learning rate
    must be small (or `gradient` "mean"); Adam does not see the difference.

    The strength is "bits": a guard that finds the step too costly raises them towards 8.
    """

    strength: ClassVar[str | None] = "bits"
    gentle: ClassVar[float] = 8.0
    survey: ClassVar[str] = "[35] Han et al. 2016, Deep Compression, section 3"
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "any tensor (by pattern)")

    bits: float | Mapping[str, float] = 5.0  # log2 of the values a tensor shares, 0..16; or {pattern: bits}
    initialisation: Literal["linear", "density", "random"] = "linear"  # even in value, even in rank, or drawn
    exact: bool = False  # the best clustering there is, instead of the nearest local one
    epochs: float = 2.0  # of training the shared values, >= 0; 0 needs no data
    learning_rate: float = 0.1  # times the task's, > 0; falls to 0 by a cosine
    gradient: Literal["sum", "mean"] = "sum"  # over the weights that share a value
    tensors: tuple[str, ...] = ()  # patterns of names; empty: all conv, linear and recurrent weights

    def __post_init__(self) -> None:
        check_setting("bits", self.bits, lambda value: 0 <= value <= 16, "bits from 0 to 16")
        if not 0 <= self.epochs < math.inf:
            raise ConfigError("out of range", where="epochs", value=self.epochs, fix="Use a finite number from 0.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError("out of range", where="learning_rate", value=self.learning_rate, fix="Use one above 0.")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The model with a codebook on every chosen tensor, its centroids trained.

        Records "centroids": the shared values by tensor, ascending.

        Raises: TechniqueError when there is nothing to share, values are not finite, or a tensor is kept in a way
        that has no values to share; ConfigError for a pattern that fits nothing.
        """
        chosen = with_values(select(model, self.tensors, WEIGHTS), self.bits)
        names = [weight.name for weight, _ in chosen]
        present = encodings_of(model)
        generator = context.generator("kmeans")
        attach(model, {w.name: self._shared(w, bits, present.get(w.name), generator) for w, bits in chosen})
        if self.epochs > 0:
            self._train(model, names, context)
        trained = encodings_of(model)
        merged = {w.name: _merged(w.name, trained[w.name], w.parameter) for w, _ in chosen}
        attach(model, trained | merged)  # all of them: training leaves values finer than they are stored
        centroids = {name: _codebook(encoding).centroids.to_tensor() for name, encoding in merged.items()}
        context.record("centroids", {name: values.detach().tolist() for name, values in centroids.items()})
        return model

    def needs_model(self) -> str | None:
        """See PerTensor: for training, and for random numbers, which are drawn for one tensor after the other."""
        if self.epochs > 0:
            return f"trains the shared values (epochs: {self.epochs:g})"
        return "draws its first values at random" if self.initialisation == "random" else None

    @property
    def working_bytes(self) -> int:
        """See PerTensor: the values as floats, once as they are and once sorted, and the indices."""
        return 16

    def names(self, model: nn.Module) -> tuple[str, ...]:
        """See PerTensor."""
        return tuple(weight.name for weight, _ in with_values(named(model, self.tensors, WEIGHTS), self.bits))

    def encode(self, name: str, weight: Tensor, encoding: Encoding | None) -> Encoding | None:
        """See PerTensor."""
        item = Weight(name, name.rpartition(".")[0], "other", weight)
        bits = value_for(item, self.bits)
        if bits is None:
            return None
        check_values(name, weight)
        made = self._shared(item, bits, encoding, torch.Generator())
        centroids = _codebook(made).centroids
        if isinstance(centroids, Dense) and centroids.stored == centroids.dtype:
            return made
        settled = made.to_tensor()  # storing has rounded the centroids, so that some may be equal now
        return _merged(name, made.updated(settled), settled)

    def _shared(self, weight: Weight, bits: float, encoding: Encoding | None, generator: torch.Generator) -> Encoding:
        survivors = survivors_of(weight.name, encoding, weight.parameter)
        found = kmeans(
            survivors.values,
            max(1, round(2**bits)),
            start=self.initialisation,
            exact=self.exact,
            generator=generator,
        )
        centroids = found.centroids.to(survivors.values) + 0.0  # a mean, which training takes, is never -0.0
        return shared(survivors, found.indices, centroids)

    def _train(self, model: nn.Module, names: list[str], context: Context) -> None:
        """Trains the shared values and whatever else of the model is free; no decay pulls centroids to zero."""
        rate = self.learning_rate * context.training.learning_rate
        settings = Finetuning(epochs=self.epochs, learning_rate=rate, weight_decay=0.0)
        if self.gradient == "sum":
            context.finetune(model, settings)
            return
        tensors = dict(model.named_parameters())
        wrapped = {name: MeanGradient.of(constraints_of(model)[name], tensors[name]) for name in names}
        constrain(model, constraints_of(model) | wrapped)
        context.finetune(model, settings)
        constrain(model, {name: _unwrapped(item) for name, item in constraints_of(model).items()})


def _unwrapped(constraint: Constraint) -> Constraint:
    return constraint.inner if isinstance(constraint, MeanGradient) else constraint


def _merged(name: str, encoding: Encoding, weight: Tensor) -> Encoding:
    """The encoding with centroids that training has moved onto each other made one."""
    codebook = _codebook(encoding)
    survivors = survivors_of(name, encoding, weight)
    return shared(survivors, codebook.indices, codebook.centroids.to_tensor().detach())


def _codebook(encoding: Encoding) -> Codebook:
    inner = encoding.inner if isinstance(encoding, Sparse) else encoding
    if isinstance(inner, Codebook):
        return inner
    raise EncodingError("is no codebook", value=type(inner).__name__)
