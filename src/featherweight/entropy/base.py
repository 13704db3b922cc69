"""The interface of a coder: symbols to bits and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.unsignedinteger[Any]]
"""A stream of symbols, shape (n,), each below the alphabet's size; decoders give the smallest type that holds them."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What writer and reader both know of a stream before its first symbol.

    A coder may draw on `shape` and `signed` to tell likely symbols from unlikely ones, or leave them alone.
    """

    count: int  # symbols
    alphabet: int  # symbols are 0..alphabet-1
    shape: tuple[int, ...] = ()  # of the tensor whose entries the symbols are, row-major; () for no such tensor
    signed: bool = False  # the symbols stand for integers: 0, -1, 1, -2, 2 ... in this order (zigzag)
    trellis: int = 0  # symbols after which the state of dependent quantization starts anew; 0: not dependent


def _never() -> None:
    return


@dataclass(frozen=True, slots=True)
class Work:
    """How a stream is decoded; the result does not depend on it."""

    threads: int = 1  # at most
    check: Callable[[], None] = _never  # called at least every 2^20 symbols; raises to give up (a deadline)


ALONE = Work()


class Coder(ABC):
    """Turns a stream of symbols into bytes and back. Its statistics travel in the bytes and are counted.

    The bytes are a pure function of the symbols, what `Stream` says and nothing else: what decodes to a stream is
    exactly what `to_bits` gives for it, so anything else is rejected.
    """

    code: ClassVar[int]  # the number of the coder in the file, 0..255, never reused
    static: ClassVar[bool] = False  # one code for the whole stream: its bytes are never below the zero-order entropy
    sizes_by_coding: ClassVar[bool] = False  # `size` costs as much as `to_bits`

    @abstractmethod
    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """The coded stream, statistics included.

        Raises: EncodingError for a symbol outside 0..alphabet-1, an alphabet that this coder does not take (all take
        2..2^20, none more than 2^32), another count
        than announced, or a stream that this coder cannot hold (`size` raises it too).
        """

    @abstractmethod
    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """The symbols that `to_bits` turned into `data`; time and memory are O(len(data) + stream.count).

        Raises: FormatError for bytes that `to_bits` cannot have written (offset: within `data`).
        """

    @abstractmethod
    def size(self, symbols: Symbols, stream: Stream) -> int:
        """len(to_bits(symbols, stream)), without coding where that is cheaper."""
