"""Adaptive binary range coding with contexts: the coder of the small tier.

Grammar:

    stream = [mean] size* block+
    mean   = one byte, for levels and bits only: the logarithm to base 2, in quarters, of the mean magnitude in 1/4096
    size   = bytes of each block but the last, seven bits a byte, the lowest first; the highest bit: more follow

A block is 2^19 symbols, or as many whole rows as fit into them (at least one) where the stream is a tensor of several
rows; the last one is what is left. Blocks know nothing of each other, so that they decode on several threads. What the
bits of a block mean depends on what the stream is:

- signed: levels, see `_context_levels.py`. A tensor of shape (rows, channels, *kernel) is read as rows of
  channels * kernel levels.
- not signed, alphabet of 2: bits, which are levels that are never negative.
- anything else: classes, see `_context_classes.py`; their shape is not looked at.

All is integer arithmetic, see `_context_coder.py`. A stream of no symbols or of an alphabet of one is for `constant`.

Contexts of neighbours, magnitudes coded step by step: after S. Wiedemann et al., "DeepCABAC: A Universal Compression
Algorithm for Deep Neural Networks", IEEE JSTSP 2020. Means of rows and columns, the mean of two opinions, and chances
that begin with a model of the magnitude: ours, chosen by measuring (benchmarks/bench_coding.py).
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np

from featherweight.core.native import native
from featherweight.entropy import _context_native, _context_reference
from featherweight.entropy._context_levels import BITS, CLASSES, LEVELS, Geometry
from featherweight.entropy._context_model import LOGS, log_of, number_of
from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import LARGEST_ALPHABET, check_request, check_stream, symbol_type
from featherweight.errors import EncodingError, FormatError

BLOCK = 1 << 19  # symbols

# Symbols. The surest bit takes 1/1894 of a bit, so a byte holds 15,150; and a block, of 2^18 symbols or more unless it
# is the last, may take 4 bytes less than its bits say.
_MOST_PER_BYTE = 1 << 15
_CHUNK = 1 << 20  # symbols looked at at a time
_WAY = _context_reference if native is None else _context_native  # the same bytes and errors by either


class ContextRange(Coder):
    """Adaptive binary range coding with contexts: row, column, neighbours, place in the kernel."""

    code: ClassVar[int] = 4
    sizes_by_coding: ClassVar[bool] = True

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder; alphabets go up to 2^32. Raises: EncodingError also for no symbols or an alphabet of one."""
        check_stream(symbols, stream, LARGEST_ALPHABET)
        if not stream.count or stream.alphabet < 2:
            raise EncodingError("there is nothing to code", value=(stream.count, stream.alphabet), fix="Use constant.")
        symbols = np.ascontiguousarray(symbols, symbol_type(stream.alphabet))
        head = b"" if _kind(stream) == CLASSES else bytes([_mean_of(symbols, stream, ALONE)])
        geometry, block = _geometry(stream, head)
        blocks = [_WAY.encode(symbols[at : at + block], geometry) for at in range(0, stream.count, block)]
        return b"".join([head, *(_varint(len(one)) for one in blocks[:-1]), *blocks])

    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """See Coder. Raises: FormatError (E_COUNT, E_SPAN, E_INDEX, E_DECODED_SIZE)."""
        check_request(stream, LARGEST_ALPHABET)
        most = (len(data) + 8) * _MOST_PER_BYTE
        if not 1 <= stream.count <= most or stream.alphabet < 2:
            raise FormatError("E_COUNT", f"{len(data)} bytes cannot hold this many symbols", value=stream.count)
        view = memoryview(data)
        head = b"" if _kind(stream) == CLASSES else bytes(view[:1])
        geometry, block = _geometry(stream, head)
        spans = _spans(view, len(head), -(-stream.count // block))
        symbols: Symbols = np.empty(stream.count, symbol_type(stream.alphabet))
        _decode_all(view, spans, [symbols[at : at + block] for at in range(0, stream.count, block)], geometry, work)
        if head and head[0] != _mean_of(symbols, stream, work):
            raise FormatError("E_INDEX", "the mean is not that of the symbols", value=head[0])
        return symbols

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder: it has to be coded for that."""
        return len(self.to_bits(symbols, stream))


def _kind(stream: Stream) -> int:
    if stream.signed:
        return LEVELS
    return BITS if stream.alphabet == 2 else CLASSES


def _geometry(stream: Stream, head: bytes) -> tuple[Geometry, int]:
    """What all blocks of a stream have in common, and the symbols of each but the last.

    Raises: FormatError (E_DECODED_SIZE, E_INDEX) for a head that no writer gives.
    """
    kind = _kind(stream)
    if kind == CLASSES:
        return Geometry(kind, stream.alphabet), BLOCK
    if not head:
        raise FormatError("E_DECODED_SIZE", "the bytes end before the mean", value=0)
    if 4 * head[0] >= LOGS:
        raise FormatError("E_INDEX", "no mean is that large", value=head[0])
    mean = max(number_of(4 * head[0]), 1)
    shape = stream.shape if len(stream.shape) > 1 and math.prod(stream.shape) == stream.count else (1, stream.count)
    columns = math.prod(shape[1:])
    if columns > BLOCK:
        shape, columns = (1, BLOCK), BLOCK
    flat = shape[0] == 1
    geometry = Geometry(
        kind,
        stream.alphabet,
        columns=columns,
        kernel=math.prod(shape[2:]),
        width=shape[-1] if len(shape) > 2 else 1,
        trellis=stream.trellis,
        flat=flat,
        mean=mean,
    )
    return geometry, BLOCK if columns == BLOCK else BLOCK // columns * columns


def _mean_of(symbols: Symbols, stream: Stream, work: Work) -> int:
    """The logarithm of the mean magnitude in 1/4096, in quarters and rounded down, as the head keeps it."""
    total = 0
    for start in range(0, len(symbols), _CHUNK):
        work.check()
        part = symbols[start : start + _CHUNK]
        magnitudes = (part.astype(np.uint64) + np.uint64(1)) >> np.uint64(1) if stream.signed else part
        total += int(magnitudes.sum(dtype=np.uint64))
    return min(log_of(max((total << 12) // len(symbols), 1)), LOGS - 1) // 4


def _spans(data: memoryview, at: int, count: int) -> list[tuple[int, int]]:
    """Where each block begins and ends. Raises: FormatError (E_SPAN)."""
    sizes = []
    for _ in range(count - 1):
        size, at = _read_varint(data, at)
        sizes.append(size)
    ends = [at]
    for size in sizes:
        ends.append(ends[-1] + size)
    if ends[-1] > len(data):
        raise FormatError("E_SPAN", "a block begins behind the end", offset=len(data), value=ends[-1])
    return list(zip(ends, [*ends[1:], len(data)], strict=True))


def _decode_all(
    data: memoryview, spans: list[tuple[int, int]], outs: list[Symbols], geometry: Geometry, work: Work
) -> None:
    """Decodes block i from the bytes spans[i] into outs[i], `work.threads` at a time."""

    def decode_one(place: int) -> None:
        work.check()
        begin, end = spans[place]
        try:
            _WAY.decode(data[begin:end], geometry, outs[place])
        except FormatError as error:
            raise error.moved(begin) from error

    if work.threads == 1 or len(spans) == 1:
        for place in range(len(spans)):
            decode_one(place)
        return
    with ThreadPoolExecutor(min(work.threads, len(spans))) as pool:
        for _ in pool.map(decode_one, range(len(spans))):  # the first error, in order of the blocks, ends all others
            pass


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number and the byte behind it. Raises: FormatError (E_SPAN) for one that is cut, too large or too long."""
    number = 0
    for place in range(5):
        if at + place >= len(data):
            break
        byte = data[at + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            if not byte and place:
                break
            return number, at + place + 1
    raise FormatError(
        "E_SPAN", "the size of a block is not written as it has to be", offset=min(at, len(data)), value=number
    )
