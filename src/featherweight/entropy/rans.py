"""Interleaved rANS with static frequencies: the fast tier.

Grammar; numbers of whole bytes are little-endian, bits fill a byte from the highest to the lowest:

    stream  = table padding index block*
    table   = see entropy/_rans_model.py: the classes that symbols fall into and the frequency of each
    index   = for every block but the last its size in bytes (3 bytes)
    block   = state* word* bits padding     of 2^18 symbols, the last one of the rest
    state   = 4 bytes; there are L of them: the largest power of two with 2^13 L symbols in the block, 1..32
    word    = 2 bytes
    bits    = for every symbol of a class of 2^b symbols, in order, its b lowest bits
    padding = zero bits up to a whole byte

State i mod L decodes symbol i of a block. Of state x, x mod 4096 lies in the part of one class (the parts fill
0..4095 in order of the classes, as long as the frequencies), and that is the class of the symbol; x becomes frequency
* floor(x / 4096) + x mod 4096 - start of the part, and if that is below 2^16, that times 2^16 + the next word. States
are at least 2^16 at first, and each is 2^16 in the end: so there is exactly one way to write the symbols.

Why so: with 12 bits and at most 256 classes one entry of 4 bytes says all that x mod 4096 means, and the entries, 16
KiB, stay in the L1 cache; rare large symbols share classes, so that they take no room in either. With words of 16
bits a symbol takes one at most. A lane (state) costs 3 bytes on average, as it begins with 16 bits of nothing and
ends half empty: one for 2^13 symbols is at most 0.1 % at 3 bits a symbol, and from 2^18 symbols on 32 of them hide
the latencies of a processor. Blocks decode on several threads; the lanes and size of each cost less than 0.1 % at 3
bits a symbol.

Jarek Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013; Fabian Giesen, "Interleaved entropy coders",
arXiv:1402.3392, 2014.
"""

from types import ModuleType
from typing import ClassVar

import numpy as np

from featherweight.core.native import check_fault, native
from featherweight.entropy import _rans_reference as reference
from featherweight.entropy.base import ALONE, Coder, Stream, Symbols, Work
from featherweight.entropy.tables import check_request, check_stream, symbol_type
from featherweight.errors import EncodingError, FormatError

_BATCH = 4  # blocks between two looks at the clock: 2^20 symbols


class Rans(Coder):
    """Within a fraction of a percent of the entropy at some hundred million symbols a second, statistics in front."""

    code: ClassVar[int] = 3
    static: ClassVar[bool] = True
    sizes_by_coding: ClassVar[bool] = True

    def to_bits(self, symbols: Symbols, stream: Stream) -> bytes:
        """See Coder. Raises: EncodingError also for fewer than 2 different symbols."""
        check_stream(symbols, stream)
        smallest = np.ascontiguousarray(symbols, symbol_type(stream.alphabet))
        data: bytes | None
        if native is not None:
            data = native.rans_encode(smallest)
        else:
            data = reference.encode(smallest)
        if data is None:
            raise EncodingError(
                "rANS codes at least two different symbols",
                value=f"{stream.count} equal ones",
                fix="Use the coder constant.",
            )
        return data

    def from_bits(self, data: bytes | memoryview, stream: Stream, work: Work = ALONE) -> Symbols:
        """See Coder. Raises: FormatError (E_COUNT, E_ANS, E_INDEX, E_SPAN, E_PADDING, E_DECODED_SIZE)."""
        check_request(stream)
        if stream.count < 2 or not len(data):
            raise FormatError("E_COUNT", f"{len(data)} bytes cannot hold this many symbols", value=stream.count)
        if native is not None:
            return _decode(native, data, stream, work)
        return reference.decode(bytes(data), stream.count, stream.alphabet, work.check)

    def size(self, symbols: Symbols, stream: Stream) -> int:
        """See Coder. As expensive as to_bits. Raises: EncodingError like to_bits."""
        return len(self.to_bits(symbols, stream))


def _decode(built: ModuleType, data: bytes | memoryview, stream: Stream, work: Work) -> Symbols:
    decoder = built.RansDecoder(np.frombuffer(data, np.uint8))
    check_fault(decoder.open(stream.count, stream.alphabet))
    symbols = np.empty(stream.count, symbol_type(stream.alphabet))
    for _ in range(0, stream.count, _BATCH * reference.BLOCK):
        work.check()
        check_fault(
            decoder.decode(symbols, _BATCH, work.threads)
        )  # the last time also whether the table belongs to them
    return symbols
