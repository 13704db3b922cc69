"""Removes the filters that the others can stand in for: those nearest to the geometric median.

Y. He et al. 2019 (CVPR, "Filter pruning via geometric median for deep convolutional neural networks acceleration"),
section 3.3: the filter whose summed Euclidean distance to all filters of its layer is least is the one that the others
replace best, however large it is. Here a filter is all rows that make a channel, in all layers that are tied by a
residual connection, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from featherweight.core.context import Context
from featherweight.graph.surgery import Anatomy, Group
from featherweight.numerics.greedy import median_distances
from featherweight.techniques.pruning._scores import filters
from featherweight.techniques.pruning._structured import Structured


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Structured):
    """Removes the filters nearest to the geometric median of their layer, whose part the others can take over."""

    survey: ClassVar[str] = "He et al. 2019, Filter Pruning via Geometric Median"

    def scores(self, model: nn.Module, known: Anatomy, groups: Sequence[Group], context: Context) -> list[Tensor]:
        """Summed distances of each channel's weights to those of all channels of its group."""
        return [median_distances(filters(model, group)) for group in groups]
