"""Removes the channels of a layer that together cost least: what they do to the loss jointly, not one by one.

H. Peng et al. 2019 (ICML, "Collaborative channel pruning for deep networks"): with r 1 for what goes, the loss changes
by about 1/2 r^T S r - u^T r, where a (examples, channels) is gradient times gate of each example alone, S = a^T a / N
and u the mean of a. The curvature is the empirical Fisher information of the examples' own losses. Two channels whose
influences cancel out are cheap together and dear alone, which no score of single channels can say.

How many channels each group loses follows from the scores of single channels, S_ii / 2, and the budget; which ones,
from the quadratic program of so many channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.errors import ConfigError
from featherweight.graph.surgery import Anatomy, Group
from featherweight.numerics.collaborative import least_loss, quadratic
from featherweight.techniques.pruning._scores import influences
from featherweight.techniques.pruning._structured import Structured


@dataclass(frozen=True, kw_only=True)
class Collaborative(Structured):
    """Removes from each layer the channels whose joint loss is least, by a quadratic program over all pairs."""

    survey: ClassVar[str] = "[87] Peng et al. 2019, Collaborative Channel Pruning for Deep Networks"

    examples: int = 256  # training examples whose gradients are taken, each alone, >= 1
    gradient: bool = False  # use the first-order term u as well; of a trained network it is mostly noise

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.examples < 1:
            raise ConfigError("out of range", where="examples", value=self.examples, fix="Use at least 1.")

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """Numbers of which the lowest are those of the best set of the size that the budget leaves to each group."""
        rows = influences(model, known, groups, context, examples=self.examples, together=1)
        terms = [quadratic(values) for values in rows]
        alone = [curvature.diagonal() / 2 for curvature, _ in terms]
        gone = set(self.choice(model, known, groups, alone, context).atoms.tolist())
        found = []
        for group, (curvature, slope), values in zip(groups, terms, alone, strict=True):
            count = sum(atom in gone for atom in group.atoms.tolist())
            used = slope if self.gradient else torch.zeros_like(slope)
            found.append(_first(values, least_loss(curvature, used, count)))
        return found


def _first(values: Tensor, removed: Tensor) -> Tensor:
    """The same numbers given out anew: the lowest to what is removed, each part in its own order.

    So the budget is met by as many channels of each group as before.
    """
    goes = torch.zeros(len(values), dtype=torch.bool)
    goes[removed] = True
    order = torch.argsort(values, stable=True)
    order = torch.cat([order[goes[order]], order[~goes[order]]])
    result = torch.empty_like(values)
    result[order] = values.sort().values
    return result
