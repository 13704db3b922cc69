"""How many parameters a model has."""

from typing import Any, ClassVar

from torch import nn

from featherweight.profiling._tensors import by_layer, stored_tensors
from featherweight.profiling.base import Measurement, Metric


class Parameters(Metric):
    """Numbers that training changes, shared ones once, zeros included; buffers (batch-norm statistics) are none."""

    unit: ClassVar[str] = "parameters"

    def measure(self, model: nn.Module, example: tuple[Any, ...] = ()) -> Measurement:
        """The count, by layer."""
        parts = by_layer([(item.layer, item.tensor.numel()) for item in stored_tensors(model) if item.is_parameter])
        return Measurement(value=sum(parts.values()), unit=self.unit, parts=parts)
