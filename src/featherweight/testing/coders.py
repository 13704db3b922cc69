"""The battery for coders: what every `entropy.base.Coder` promises, as checks that any test runner can call.

    for check in CHECKS.values():
        check(MyCoder())

A coder may refuse a stream with EncodingError (one for two symbols only, say); the checks pass over those streams.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy.base import Coder, Stream, Symbols
from featherweight.errors import EncodingError, FormatError
from featherweight.testing._expect import expect

Check = Callable[[Coder], None]

_MUTATIONS = 150  # a stream


def streams(seed: int = 0) -> Iterator[tuple[Symbols, Stream]]:
    """Streams, as they are and as tensors of levels (see `Stream`).

    They are short and long, constant, skewed, even, with gaps, at the ends of the alphabet.
    """
    for symbols, alphabet in _plain_streams(seed):
        yield symbols, Stream(len(symbols), alphabet)
        for shape in _shapes(len(symbols)):
            yield symbols, Stream(len(symbols), alphabet, shape, signed=len(shape) > 1)


def _shapes(count: int) -> list[tuple[int, ...]]:
    rows = next((rows for rows in (6, 5, 4, 3) if count and count % rows == 0), 1)
    deep = (rows, 2, count // rows // 2) if rows > 1 and count // rows % 2 == 0 else (rows, count // rows, 1)
    return [(count,), deep] if count <= 33000 else [deep]


def _plain_streams(seed: int) -> Iterator[tuple[Symbols, int]]:
    generator = np.random.default_rng(seed)
    for alphabet in (1, 2, 3, 5, 16, 256, 257, 1000, 65536, 1 << 20):
        yield np.zeros(0, np.uint32), alphabet
        yield np.full(1, alphabet - 1, np.uint32), alphabet
        yield np.full(70, alphabet // 2, np.uint32), alphabet
        for count in (2, 7, 8, 9, 300):
            yield generator.integers(0, alphabet, count, np.uint32), alphabet
        skewed = np.minimum(generator.geometric(0.3, 500) - 1, alphabet - 1)
        yield skewed.astype(np.uint32), alphabet
        yield (alphabet - 1 - skewed).astype(np.uint32), alphabet
    for count in (16384, 16385, 33000, 450_000):  # around the borders of blocks
        yield np.minimum(generator.geometric(0.2, count) - 1, 255).astype(np.uint8), 256


def check_round_trip(coder: Coder) -> None:
    """What is coded decodes to itself, and codes to the same bytes again."""
    for data, symbols, stream in _coded(coder):
        again = coder.from_bits(data, stream)
        where = _where(coder, stream)
        expect(again.shape == symbols.shape and again.dtype.kind == "u", "shape and type", where=where)
        expect(bool((again == symbols).all()), "decodes what it coded", where=where)
        expect(coder.to_bits(again, stream) == data, "one form a stream", where=where)
        viewed = coder.from_bits(memoryview(data), stream)
        expect(bool((viewed == symbols).all()), "takes a view of bytes", where=where)


def check_size(coder: Coder) -> None:
    """`size` is the length of what `to_bits` gives, and refuses what it refuses."""
    for symbols, stream in streams():
        where = _where(coder, stream)
        try:
            size = coder.size(symbols, stream)
        except EncodingError:
            size = -1
        try:
            length = len(coder.to_bits(symbols, stream))
        except EncodingError:
            length = -1
        expect(size == length, "size is exact", where=where, value=(size, length))


def check_refuses_foreign_symbols(coder: Coder) -> None:
    """A symbol outside the alphabet, an impossible alphabet, a wrong shape, type or count are refused."""
    one = np.ones(8, np.uint32)
    mixed = np.arange(8, dtype=np.uint32)
    cases: list[tuple[NDArray[Any], int]] = [(one, 1), (mixed, 7), (one, 0), (one, (1 << 32) + 1)]
    cases += [(mixed.reshape(2, 4), 8), (mixed.astype(np.int64), 8), (mixed[1:], 8)]
    for symbols, alphabet in cases:
        stream = Stream(8, alphabet)
        where = _where(coder, stream)
        expect(_refuses(coder.to_bits, symbols, stream), "refuses a foreign symbol", where=where)
        expect(_refuses(coder.size, symbols, stream), "refuses a foreign symbol", where=where)


def check_refuses_other_counts(coder: Coder) -> None:
    """A count that no such bytes hold is refused before anything of its size is allocated.

    A count near the real one may give another stream, but only one that codes to these very bytes. Streams of equal
    symbols are left out: how many there are need not show in the bytes.
    """
    for data, symbols, stream in _coded(coder):
        if len(np.unique(symbols)) < 2:
            continue
        where = _where(coder, stream)
        for count in (-1, 0, 8 * len(data) + 1, 1 << 40, 1 << 62):
            other = replace(stream, count=count, shape=())
            found = _verdict(coder, data, other)
            same = found is None or (0 < count < 1 << 40 and coder.to_bits(found, other) == data)
            expect(same, "refuses a count that the bytes cannot hold", where=where, value=count)


def check_refuses_broken_bytes(coder: Coder) -> None:
    """Bytes that were cut, lengthened or changed are refused with FormatError, or are what another stream codes to."""
    generator = np.random.default_rng(1)
    for data, symbols, stream in _coded(coder):
        if len(symbols) > 1000 or stream.alphabet > 1 << 16:  # the same code runs, only slower
            continue
        broken = [data[:-1], data + b"\0", data + b"\xff", b"", *_mutants(generator, data)]
        for item in broken:
            found = _verdict(coder, item, stream)
            same = found is None or coder.to_bits(found, stream) == item
            expect(same, "refuses bytes that it cannot have given", where=_where(coder, stream), value=item)


CHECKS: Mapping[str, Check] = {
    "round trip": check_round_trip,
    "size": check_size,
    "foreign symbols": check_refuses_foreign_symbols,
    "other counts": check_refuses_other_counts,
    "broken bytes": check_refuses_broken_bytes,
}


def _coded(coder: Coder) -> Iterator[tuple[bytes, Symbols, Stream]]:
    for symbols, stream in streams():
        try:
            yield coder.to_bits(symbols, stream), symbols, stream
        except EncodingError:
            continue


def _mutants(generator: np.random.Generator, data: bytes) -> Iterator[bytes]:
    for _ in range(_MUTATIONS if data else 0):
        changed = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 4)):
            changed[place] ^= 1 << int(generator.integers(0, 8))
        yield bytes(changed)


def _verdict(coder: Coder, data: bytes, stream: Stream) -> Symbols | None:
    try:
        return coder.from_bits(data, stream)
    except FormatError:
        return None


def _refuses(function: Callable[[Symbols, Stream], object], symbols: Symbols, stream: Stream) -> bool:
    try:
        function(symbols, stream)
    except EncodingError:
        return True
    return False


def _where(coder: Coder, stream: Stream) -> str:
    return f"{type(coder).__name__}, {stream}"
