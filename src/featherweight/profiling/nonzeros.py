"""How many parameters are not zero."""

from typing import Any, ClassVar

import torch
from torch import nn

from featherweight.profiling._tensors import by_layer, stored_tensors
from featherweight.profiling.base import Measurement, Metric


class Nonzeros(Metric):
    """Parameters whose value is not zero, shared ones once. Fillers of a sparse format are not counted."""

    unit: ClassVar[str] = "parameters"

    def measure(self, model: nn.Module, example: tuple[Any, ...] = ()) -> Measurement:
        """The count, by layer."""
        parts = by_layer(
            [(item.layer, int(torch.count_nonzero(item.tensor))) for item in stored_tensors(model) if item.is_parameter]
        )
        return Measurement(value=sum(parts.values()), unit=self.unit, parts=parts)
