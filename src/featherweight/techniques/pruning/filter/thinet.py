"""Removes the filters whose sum of contributions to the next layer is smallest, chosen greedily.

J.-H. Luo, J. Wu, W. Lin 2017 (ICCV, "ThiNet: a filter level pruning method for deep neural network compression").
Notation: A (m, n): what each of n channels gives to m outputs of the layer that reads them, before its bias and without
any activation between. Section 3.2: T, the set of channels to remove, grows by the channel that leaves
||sum over T of A_j||^2 smallest. Section 3.3: the weights that read a channel that stays are multiplied by one number,
of least squared error to the sum of all contributions. Here the sums over positions and outputs are kept as A^T A, over
all outputs of the positions that were drawn.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from featherweight.numerics.greedy import least_sum, scales
from featherweight.techniques.pruning._readers import Parts
from featherweight.techniques.pruning._repair import Repair
from featherweight.techniques.pruning._sequential import Sequential


@dataclass(frozen=True, kw_only=True)
class Thinet(Sequential):
    """Removes the filters whose summed contribution to the next layer stays smallest; the others are scaled for it."""

    survey: ClassVar[str] = "[30] Luo et al. 2017, ThiNet"

    refit: Literal["none", "scales", "weights"] = "scales"  # of the next layer: one factor a channel, or all weights
    repair: Repair = "statistics"  # afterwards; refit="weights" is least squares layer by layer already

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refit == "weights":
            object.__setattr__(self, "repair", "least_squares")

    def select(self, parts: Parts, keep: int) -> Tensor:
        """Algorithm 1 of the paper."""
        gone = least_sum(parts.gram, len(parts.gram) - keep)
        stays = torch.ones(len(parts.gram), dtype=torch.bool, device=gone.device)
        stays[gone] = False
        return stays.nonzero()[:, 0]

    def rescaled(self, parts: Parts, kept: Tensor) -> Tensor | None:
        """Equation 7."""
        return scales(parts.gram, kept) if self.refit == "scales" else None
