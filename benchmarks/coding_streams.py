"""The streams of a network's weights, each with its coder, and how long coders take: for bench_coding.py."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import coding_integers as integers
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.base import Coder, Stream, Symbols
from featherweight.errors import EncodingError

ROUNDS = 5


@dataclass(frozen=True)
class Part:
    """One tensor's stream with the coder of a tier that takes the fewest bytes for it."""

    name: str
    coder: Coder
    symbols: Symbols
    stream: Stream

    @cached_property
    def data(self) -> bytes:
        """The coded stream."""
        return self.coder.to_bits(self.symbols, self.stream)


def parts(case: integers.Coded, tier: str) -> list[Part]:
    """The streams of the weights (tensors of two dimensions or more), each with its coder."""
    chosen = integers.coders(tier)
    found = []
    for name, item in integers.encodings(case).items():
        if isinstance(item, Uniform) and len(item.shape) > 1:
            packed = item.pack()
            symbols, stream = packed.streams[0], Uniform.layout(item.shape, packed.fields).streams[0]
            found.append(Part(name, _smallest(chosen, symbols, stream), symbols, stream))
    return found


def _smallest(chosen: list[Coder], symbols: Symbols, stream: Stream) -> Coder:
    def size(coder: Coder) -> float:
        try:
            return coder.size(symbols, stream)
        except EncodingError:
            return float("inf")

    return min(chosen, key=size)


def entropy(symbols: Symbols) -> float:
    """Bits of a stream whose symbols were drawn independently with the frequencies they have."""
    _, counts = np.unique(symbols, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def in_turns(actions: Mapping[str, Callable[[], Any]], peer: Callable[[], float] | None) -> dict[str, float]:
    """Median seconds of each action, of ROUNDS in which all take their turn."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        if peer is not None:
            taken.setdefault("peer", []).append(peer())
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in taken.items()}
