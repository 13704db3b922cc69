"""What all techniques share that take coupled channels out of a network: settings, budget, surgery, repair, training.

A technique of this kind is a score for every channel of every group; what has the lowest scores goes.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, detach, encodings_of
from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, SurgeryError, TechniqueError, TraceError
from featherweight.graph import surgery
from featherweight.graph.cells import Ids
from featherweight.graph.cut import cut_tensor
from featherweight.graph.surgery import Anatomy, Group
from featherweight.profiling.latency import Latency
from featherweight.techniques.base import Technique
from featherweight.techniques.pruning._budget import Budget, Chosen, candidates, choose
from featherweight.techniques.pruning._patterns import all_match
from featherweight.techniques.pruning._repair import Repair, repaired


@dataclass(frozen=True, kw_only=True)
class Structured(Technique):
    """Removes the channels with the lowest scores, everywhere at once; the network really is smaller afterwards.

    `of` says what `ratio` is a share of: "channels" of each group, "parameters", "macs" (multiply-adds), "bytes" (of
    the dense tensors) or "latency" (measured on this machine, on the task's example). With scope "local" every group
    loses the same share; with "global" groups compete by score over the mean score of their group.
    """

    strength: ClassVar[str | None] = "ratio"
    gentle: ClassVar[float] = 0.0
    relative: ClassVar[bool] = True  # groups compete by score over the mean of their group; otherwise by score as it is
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "linear", "recurrent", "attention", "norm", "embedding")

    ratio: float = 0.5  # share to remove, 0 <= ratio < 1
    of: Literal["channels", "parameters", "macs", "bytes", "latency"] = "channels"  # what the ratio is a share of
    scope: Literal["local", "global"] = "local"  # the same share of each group, or one ranking
    worth: float = 0.0  # scope "global": scores count over what a channel saves of `of`, to this power, >= 0
    layers: Mapping[str, float] = field(default_factory=dict)  # {pattern of layers: share of their channels}, 0..1
    multiple: int = 1  # keep multiples of so many channels (8 or 16 suit most engines), >= 1
    floor: float = 0.05  # share of each group that stays whatever its scores are, 0..1
    factors: Literal["auto", "rows", "columns"] = "auto"  # of products: heads or groups (rows), widths (columns)
    keep: tuple[str, ...] = ()  # patterns of module paths whose outputs stay whole
    repair: Repair = "statistics"  # afterwards, from calibration data: batch-norm statistics, or also least squares
    epochs: float = 0.0  # of training afterwards, >= 0
    learning_rate: float = 0.1  # of that training, times the task's, > 0; falls to 0 by a cosine

    def __post_init__(self) -> None:
        shares = {"ratio": self.ratio, "floor": self.floor} | {
            f"layers[{name}]": it for name, it in self.layers.items()
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ConfigError("out of range", where=name, value=share, fix="Use a share from 0 up to below 1.")
        if self.multiple < 1:
            raise ConfigError("out of range", where="multiple", value=self.multiple, fix="Use 1, 8 or 16.")
        for name in ("epochs", "worth"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    "out of range", where=name, value=getattr(self, name), fix="Use a finite number from 0."
                )
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(
                "out of range", where="learning_rate", value=self.learning_rate, fix="Use a positive number."
            )

    @abstractmethod
    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """For each group the importance of its channels, shape (channels,): the lowest go. May train the model."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """The smaller model, an instance of the same class.

        Records "removed" (by group: [channels before, after]), "asked" and "reached" (shares of `of`), "whole" (what
        had to stay, and why).

        Raises: TechniqueError when the model cannot be traced or nothing can go.
        """
        known = look(model, context, self.keep)
        groups = self.prunable(model, known)
        if self.ratio == 0:
            return model
        chosen = self.choice(model, known, groups, self.scores(model, known, groups, context), context)
        changed = take_out(model, known, chosen)
        repaired(self.repair, model, changed, known, chosen.atoms, context)
        self.train(changed, context, self.epochs)
        record_choice(context, known, groups, chosen)
        return changed

    def prunable(self, model: nn.Module, known: Anatomy) -> list[Group]:
        """The groups that are scored and pruned; the others stay whole."""
        return candidates(model, known, self.factors)

    def choice(
        self, model: nn.Module, known: Anatomy, groups: Sequence[Group], scores: Sequence[Tensor], context: Context
    ) -> Chosen:
        """What goes for these scores, within the budget."""
        scored = list(zip(groups, scores, strict=True))
        return choose(model, known, scored, self.budget, _Timer(model, known, context))

    def train(self, model: nn.Module, context: Context, epochs: float) -> None:
        """Trains in place at the rate of the settings; nothing for 0 epochs."""
        if epochs:
            rate = self.learning_rate * context.training.learning_rate
            context.finetune(model, Finetuning(epochs=epochs, learning_rate=rate))
            attach(model, encodings_of(model))  # training leaves values finer than they are stored

    @cached_property
    def budget(self) -> Budget:
        """What the settings ask for."""
        return Budget(
            ratio=self.ratio,
            unit=self.of,
            scope=self.scope,
            multiple=self.multiple,
            floor=self.floor,
            relative=self.relative,
            worth=self.worth,
            layers=self.layers,
        )


def look(model: nn.Module, context: Context, keep: Sequence[str] = ()) -> Anatomy:
    """The anatomy of the model on the task's example.

    Raises: TechniqueError when the model cannot be traced, and for a pattern that matches no module.
    """
    all_match(keep, [name for name, _ in model.named_modules(remove_duplicate=False)], "keep")
    try:
        return surgery.anatomy(model, context.example, keep)
    except TraceError as error:
        raise TechniqueError(
            "the model cannot be traced", where=error.where, value=error.what, fix=error.fix
        ) from error


def take_out(model: nn.Module, known: Anatomy, chosen: Chosen) -> nn.Module:
    """The model without the chosen channels.

    Plain and sparse values stay as they were kept. Raises: TechniqueError where surgery cannot do it, or weights are
    kept in a way that has no rows and columns to take out.
    """
    if not len(chosen.atoms):
        return model
    try:
        kept = known.structure.kept(known.gone(chosen.atoms))
        encodings = {name: item for name, item in encodings_of(model).items() if name in kept}
        bare = copy.deepcopy(model) if encodings else model
        detach(bare, set(encodings))
        changed = surgery.remove(bare, known, chosen.atoms)
    except SurgeryError as error:
        raise TechniqueError(error.what, where=error.where, value=error.value, fix=error.fix) from error
    tensors = dict(changed.named_parameters()) | dict(changed.named_buffers())
    attach(changed, {name: _cut(name, item, kept[name], tensors[name]) for name, item in encodings.items()})
    return changed


def _cut(name: str, encoding: Encoding, kept: Mapping[int, Ids], tensor: Tensor) -> Encoding:
    values = tensor.detach().clone()
    if isinstance(encoding, Dense):
        return Dense(values, encoding.stored)
    if isinstance(encoding, Sparse) and isinstance(encoding.inner, Dense):
        mask = cut_tensor(encoding.mask, kept)
        return Sparse(mask, Dense(values[mask], encoding.inner.stored))
    raise TechniqueError(
        "the weight is kept in a way that channels cannot be taken out of",
        where=name,
        value=type(encoding).__name__,
        fix="Prune channels before the step that shares or quantizes weights.",
    )


def record_choice(context: Context, known: Anatomy, groups: Sequence[Group], chosen: Chosen) -> None:
    """Puts into the ledger what went."""
    taken = set(chosen.atoms.tolist())
    removed = {}
    for place, group in enumerate(groups):
        name = group.name if group.name not in removed else f"{group.name} ({place})"
        removed[name] = [len(group), len(group) - len(taken.intersection(group.atoms.tolist()))]
    context.record("removed", removed)
    context.record("asked", chosen.asked)
    context.record("reached", chosen.reached)
    context.record("whole", {**chosen.left_whole, **dict.fromkeys(known.notes, "")})


class _Timer:
    """Measures the network without some atoms."""

    def __init__(self, model: nn.Module, known: Anatomy, context: Context) -> None:
        self._model, self._known, self._example = model, known, context.example

    def __call__(self, atoms: Ids) -> float:
        cut = surgery.remove(self._model, self._known, atoms, verify=False) if len(atoms) else self._model
        return Latency(runs=20).measure(cut, self._example).value


def total(group: Group, by_index: dict[tuple[str, int], Tensor], roles: Sequence[str] = ("out",)) -> Tensor:
    """Sums values by index of tensors' dimensions into one number a channel, shape (channels,).

    `by_index` holds for (tensor, dimension) one value an index; slots of other roles, and tensors that are not
    there, add nothing.
    """
    result = torch.zeros(len(group), dtype=torch.float64)
    for slot in group.slots:
        values = by_index.get((slot.tensor, slot.dim))
        if slot.role in roles and values is not None:
            result += values.detach().double().cpu()[torch.from_numpy(slot.index)].sum(1)
    return result
