"""How many bytes the weights take, as they are encoded and as they were."""

from typing import Any, ClassVar

from torch import nn

from featherweight.encodings.base import Encoding
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import coded_bytes
from featherweight.errors import EncodingError
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
    try:
        return coded_bytes(kept_as(item))
    except EncodingError:  # a type that no encoding has (complex numbers, say): as it lies in memory
        return item.tensor.numel() * item.tensor.element_size()


def kept_as(item: Stored) -> Encoding:
    """The encoding of a tensor: the attached one, else every value in its own type."""
    return Dense(item.tensor) if item.encoding is None else item.encoding


def dense_bytes(parameters: int) -> int:
    """Bytes of so many parameters as 32-bit floats."""
    return parameters * REFERENCE_BYTES


def encoding_words(encoding: Encoding) -> str:
    """An encoding in words, outermost first: "sparse index 5 > codebook 32 > dense float16"."""
    packed = encoding.pack()
    return " > ".join([type(encoding).describe(packed.fields), *(encoding_words(item) for item in packed.children)])
