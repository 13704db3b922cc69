"""The second moment of what a layer reads, on the calibration data."""

from typing import Final

import torch
from torch import Tensor

from featherweight.core.context import Context
from featherweight.techniques.representation.low_rank._find import Layer
from featherweight.training.samples import Sampling, Tap, sample

_POSITIONS: Final = 16  # of each map, drawn at random: neighbours tell little more


def second_moment(layer: Layer, context: Context, examples: int) -> Tensor:
    """E[x x^T] of the layer's inputs (a convolution's: of its windows), double, (columns, columns) of its matrix.

    Raises: TechniqueError for layers that cannot be sampled.
    """
    size = layer.module.get_parameter("weight")[0].numel()
    total = torch.zeros(size, size, dtype=torch.float64, device=context.device)

    def add(inputs: Tensor, _outputs: Tensor) -> None:
        rows = inputs.flatten(1).double()
        total.add_(rows.T @ rows)

    sampling = Sampling(Tap(layer.model, layer.path, "input"), Tap(layer.model, layer.path), positions=_POSITIONS)
    batches = context.batches("calibration", examples)
    count = sample(sampling, batches, add, context.generator("moment", layer.path))
    return total / max(count, 1)
