"""Removes the channels whose batch-norm scale stays smallest under an l1 penalty in training.

Z. Liu et al. 2017 (ICCV, "Learning efficient convolutional networks through network slimming"): the loss gets
penalty * sum |gamma| over the scales of all batch norms whose channels can go (not over their shifts); then one
threshold for the whole network removes the smallest. Where a batch norm reads what others read as well (pre-activation
ResNet, DenseNet), its channels cannot go: with `select` a selection layer before it leaves them out for its own
convolution.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from featherweight.core.context import Context, Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._budget import candidates
from featherweight.techniques.pruning._scores import gates, gates_of, scales
from featherweight.techniques.pruning._structured import Structured, look
from featherweight.techniques.pruning.channel._selectors import Reader, readers, selected


@dataclass(frozen=True, kw_only=True)
class NetworkSlimming(Structured):
    """Trains with an l1 penalty on batch-norm scales, then removes the channels with the smallest ones."""

    survey: ClassVar[str] = "[27] Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming"
    relative: ClassVar[bool] = False
    applies_to: ClassVar[tuple[str, ...]] = ("conv", "norm")

    scope: Literal["local", "global"] = "global"  # the same share of each group, or one ranking
    penalty: float = 1e-4  # weight of the l1 term in the loss, >= 0; the paper: 1e-4 for VGG, 1e-5 for ResNet-164
    sparsity_epochs: float = 5.0  # of training with the penalty before channels go, >= 0
    sparsity_rate: float = 0.1  # learning rate of that training, times the task's, > 0
    scratch: bool = False  # training starts from scratch: scales begin at 0.5 and shifts at 0
    select: bool = False  # also leave out channels in front of batch norms whose input others read; of="channels" only

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("penalty", "sparsity_epochs"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError("out of range", where=name, value=getattr(self, name), fix="Use a number from 0.")
        if not 0 < self.sparsity_rate < math.inf:
            raise ConfigError("out of range", where="sparsity_rate", value=self.sparsity_rate, fix="Use more than 0.")
        if self.select and (self.of != "channels" or self.scope != "global" or self.multiple != 1):
            raise ConfigError(
                "selection needs one ranking of single channels",
                where="select",
                value=(self.of, self.scope, self.multiple),
                fix='Use of="channels", scope="global", multiple=1.',
            )

    def prunable(self, model: nn.Module, known: Anatomy) -> list[Group]:
        """The groups that a batch norm follows."""
        places = gates(known)
        groups = candidates(model, known, self.factors)
        return [group for group in groups if any(gate.scale for gate in gates_of(group, places))]

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """|gamma| of each channel, their mean where several batch norms share it."""
        return scales(model, known, groups)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """See Structured.apply.

        Records also "selected" (by batch norm: [channels before, after]). Raises: TechniqueError without batch norms.
        """
        known = look(model, context, self.keep)
        groups, inner = self.prunable(model, known), readers(model, known, self.keep) if self.select else []
        if not groups and not inner:
            raise TechniqueError(
                "no layer whose channels can go has a batch norm behind it",
                where=type(model).__name__,
                fix="Take a technique that needs no batch norms, such as pruning.filter.norm.",
            )
        if self.ratio:
            self._train_sparse(model, known, groups, inner, context)
        if not self.select or not self.ratio:
            return super().apply(model, context)
        return self._apply_selected(model, known, groups, inner, context)

    def _train_sparse(
        self, model: nn.Module, known: Anatomy, groups: Sequence[Group], inner: Sequence[Reader], context: Context
    ) -> None:
        places = gates(known)
        names = {gate.scale for group in groups for gate in gates_of(group, places) if gate.scale is not None}
        names |= {f"{reader.norm}.weight" for reader in inner}
        if self.scratch:
            _begin(model, names)
        if not self.sparsity_epochs:
            return

        def penalty(trained: nn.Module) -> Tensor:
            tensors = dict(trained.named_parameters(remove_duplicate=False))
            return self.penalty * torch.stack([tensors[name].abs().sum() for name in sorted(names)]).sum()

        rate = self.sparsity_rate * context.training.learning_rate
        context.finetune(model, Finetuning(epochs=self.sparsity_epochs, learning_rate=rate), extra_loss=penalty)
        attach(model, encodings_of(model))  # training leaves values finer than they are stored

    def _apply_selected(
        self, model: nn.Module, known: Anatomy, groups: Sequence[Group], inner: Sequence[Reader], context: Context
    ) -> nn.Module:
        """One threshold over the channels of groups and those of batch norms that only select."""
        tensors = dict(model.named_parameters())
        own = scales(model, known, groups)
        seen = [tensors[f"{reader.norm}.weight"].detach().double().abs().cpu() for reader in inner]
        ranked = torch.cat([*own, *seen]).sort().values
        threshold = float(ranked[min(int(self.ratio * len(ranked)), len(ranked) - 1)])
        kept = [_above(values, threshold, self.floor) for values in seen]
        model = selected(model, list(zip(inner, kept, strict=True)))
        context.record("selected", {r.norm: [len(v), len(k)] for r, v, k in zip(inner, seen, kept, strict=True)})
        below = sum(int((values < threshold).sum()) for values in own)
        share = below / max(sum(len(values) for values in own), 1)
        if share:
            return Structured.apply(dataclasses.replace(self, ratio=share, select=False), model, context)
        self.train(model, context, self.epochs)
        return model


def _begin(model: nn.Module, names: set[str]) -> None:
    """Scales of 0.5 and shifts of 0, as the paper begins training."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in names:
            tensors[name].fill_(0.5)
            shift = tensors.get(f"{name.removesuffix('weight')}bias")
            if shift is not None:
                shift.zero_()


def _above(values: Tensor, threshold: float, floor: float) -> Tensor:
    """The channels over the threshold, ascending; at least the share `floor` of them, the largest."""
    least = max(1, math.ceil(floor * len(values)))
    count = max(least, int((values > threshold).sum()))
    return values.argsort(descending=True, stable=True)[:count].sort().values
