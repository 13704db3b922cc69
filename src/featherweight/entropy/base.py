"""The interface of a coder: symbols to bits and back."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.unsignedinteger[Any]]
"""A stream of symbols, shape (n,), each below the alphabet's size; decoders give the smallest type that holds them."""


class Coder(ABC):
    """Turns a stream of symbols into bytes and back. Its statistics travel in the bytes and are counted.

    The bytes are a pure function of the symbols, the alphabet and nothing else: what decodes to a stream is
    exactly what `to_bits` gives for it, so anything else is rejected.
    """

    code: ClassVar[int]  # the number of the coder in the file, 0..255, never reused

    @abstractmethod
    def to_bits(self, symbols: Symbols, alphabet: int) -> bytes:
        """The coded stream, statistics included.

        Raises: EncodingError for a symbol outside 0..alphabet-1, an alphabet outside 1..2^20, or a stream that this
        coder cannot hold (`size` raises it too).
        """

    @abstractmethod
    def from_bits(self, data: bytes | memoryview, count: int, alphabet: int) -> Symbols:
        """The `count` symbols that `to_bits` turned into `data`; time and memory are O(len(data) + count).

        Raises: FormatError for bytes that `to_bits` cannot have written (offset: within `data`).
        """

    @abstractmethod
    def size(self, symbols: Symbols, alphabet: int) -> int:
        """len(to_bits(symbols, alphabet)), without coding where that is cheaper."""
