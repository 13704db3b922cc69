"""How many bytes the weights take, as they are encoded and as they were."""

from typing import Any, ClassVar

import torch
from torch import nn

from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import coded_bytes
from featherweight.profiling._tensors import Stored, by_layer, stored_tensors
from featherweight.profiling.base import Measurement, Metric

REFERENCE_BYTES = 4
"""Bytes of a parameter in the dense network that sizes are compared with: 32-bit floats."""

TRAINING_ONLY = "num_batches_tracked"
"""Last part of the names of counters that only training reads: they are in no compressed file."""


class EncodedSize(Metric):
    """Bytes of all tensors as the file keeps them: indices, codebooks, statistics of coders; names and head are not.

    A tensor without an encoding is kept in its own type.
    """

    unit: ClassVar[str] = "bytes"

    def measure(self, model: nn.Module, example: tuple[Any, ...] = ()) -> Measurement:
        """The bytes, by layer."""
        parts = by_layer([(item.layer, tensor_bytes(item)) for item in stored_tensors(model)])
        return Measurement(value=sum(parts.values()), unit=self.unit, parts=parts)


def tensor_bytes(item: Stored) -> int:
    """Bytes of one tensor as it is kept in the file."""
    if item.name.rpartition(".")[2] == TRAINING_ONLY:
        return 0
    if item.encoding is not None:
        return coded_bytes(item.encoding)
    if item.tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return coded_bytes(Dense(item.tensor, item.tensor.dtype))
    return item.tensor.numel() * item.tensor.element_size()


def dense_bytes(parameters: int) -> int:
    """Bytes of so many parameters as 32-bit floats."""
    return parameters * REFERENCE_BYTES


def encoding_words(encoding: Encoding | None, dtype: torch.dtype) -> str:
    """An encoding in words, outermost first: "sparse, codebook of 32, dense float16"."""
    if encoding is None:
        return str(dtype).removeprefix("torch.")
    inner = [item for item in vars(encoding).values() if isinstance(item, Encoding)]
    return " ".join([type(encoding).__name__.lower(), *(encoding_words(item, item.dtype) for item in inner)])
