"""Removes channels by LASSO regression on what reads them, and fits what reads them again by least squares.

Y. He, X. Zhang, J. Sun 2017 (ICCV, "Channel pruning for accelerating very deep neural networks"). Notation: X_i what
channel i of n gives to the layer that reads it (patches of the network as pruned so far), W_i the weights that read it,
Y the layer's output in the whole network. Section 3.1: (i) beta minimises ||Y - sum beta_i X_i W_i^T||^2 / 2 +
penalty |beta|_1, one beta a channel, the penalty raised until few enough are left; (ii) W minimises ||Y - X W^T||^2 on
the channels that are left. Section 3.3: the last layer of a residual branch makes up for what the shortcut lost too;
the first reads the shortcut's channels through a sampler, so that the shortcut stays whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.graph import surgery
from featherweight.graph.layers import ChannelSelect
from featherweight.graph.surgery import Anatomy, Group
from featherweight.numerics.lasso import select
from featherweight.techniques.pruning._layers import fitted_layers
from featherweight.techniques.pruning._readers import Parts, readers_of
from featherweight.techniques.pruning._refit import tensors_by_name
from featherweight.techniques.pruning._sequential import Sequential
from featherweight.techniques.pruning._structured import look


@dataclass(frozen=True, kw_only=True)
class Lasso(Sequential):
    """Removes the channels that a LASSO on the outputs of the next layer leaves out, then fits that layer again."""

    survey: ClassVar[str] = "[25] He et al. 2017, Channel Pruning for Accelerating Very Deep Neural Networks"

    sampler: bool = False  # residual streams stay whole: convolutions that read them choose channels of their own

    def select(self, parts: Parts, keep: int) -> Tensor:
        """Step (i)."""
        return select(parts.gram, parts.reached, keep).kept

    def prepared(self, model: nn.Module, context: Context) -> nn.Module:
        """With `sampler`: the network with a sampler of all channels before each convolution that reads a stream.

        Records "samplers", the paths of these convolutions. One of a class of the user's own gets none: a log cannot
        say how to build it again.
        """
        if not self.sampler or not self.ratio:
            return model
        known = look(model, context, self.keep)
        modules = dict(model.named_modules())
        paths = [path for path in _reading_streams(model, known) if _is_plain(modules[path])]
        changes: dict[str, nn.Module] = {path: _sampled(cast(nn.Conv2d, modules[path])) for path in paths}
        context.record("samplers", paths)
        return surgery.replace(model, changes) if changes else model

    def prunable(self, model: nn.Module, known: Anatomy) -> list[Group]:
        """With `sampler` nothing that one chooses from."""
        groups = super().prunable(model, known)
        flow = known.structure.flow
        streams = [flow.cells.find(ids) for ids in flow.picks.values()] if self.sampler else []
        return [group for group in groups if not any(np.isin(group.atoms, ids).any() for ids in streams)]


def _reading_streams(model: nn.Module, known: Anatomy) -> list[str]:
    """The paths of the layers that read channels which several layers make."""
    layers = {layer.weight: layer for layer in fitted_layers(known.structure.flow.graph, model)}
    tensors = tensors_by_name(model)
    found: dict[str, None] = {}
    for group in known.groups:
        if len(_makers(group, tensors)) > 1:
            readers = readers_of(group, layers, tensors)
            found.update((reader.layer.weight.rpartition(".")[0], None) for reader in readers)
    return list(found)


def _makers(group: Group, tensors: dict[str, Tensor]) -> Sequence[str]:
    """The weights of several columns whose rows make the channels: a depthwise convolution makes none of its own."""
    rows = {slot.tensor for slot in group.slots if slot.role == "out"}
    return sorted(name for name in rows if name in tensors and tensors[name].dim() > 1 and tensors[name].shape[1] > 1)


def _is_plain(module: nn.Module) -> bool:
    return type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _sampled(layer: nn.Conv2d) -> nn.Module:
    return nn.Sequential(ChannelSelect(torch.arange(layer.in_channels, device=layer.weight.device)), layer)
