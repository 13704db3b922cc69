"""Removes the filters whose weights are smallest, in the l1 or the l2 norm.

H. Li et al. 2017 (ICLR, "Pruning filters for efficient ConvNets") rank the filters of a layer by sum |w|. Here a
channel is ranked by all rows that make it, in all layers that are tied by a residual connection, and where asked by the
columns that read it as well: W (out, in, ...), row i makes channel i, column i reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.graph.surgery import Anatomy, Group
from featherweight.techniques.pruning._structured import Structured, total


@dataclass(frozen=True, kw_only=True)
class Norm(Structured):
    """Removes the filters whose weights are smallest, in the l1 or the l2 norm."""

    survey: ClassVar[str] = "Li et al. 2017, Pruning Filters for Efficient ConvNets"

    norm: Literal["l1", "l2"] = "l1"  # of the weights that make a channel
    readers: bool = False  # also count the weights that read it

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """Sums of |w| or of w^2 by channel."""
        tensors = dict(model.named_parameters(remove_duplicate=False))
        roles = ("out", "in") if self.readers else ("out",)
        slots = {(slot.tensor, slot.dim) for group in groups for slot in group.slots if slot.role in roles}
        sizes = {(name, dim): self._by_index(tensors[name], dim) for name, dim in slots if name in tensors}
        return [total(group, sizes, roles) for group in groups]

    def _by_index(self, weight: Tensor, dim: int) -> Tensor:
        rows = weight.detach().double().transpose(0, dim).flatten(1)
        return rows.abs().sum(1) if self.norm == "l1" else rows.square().sum(1)
