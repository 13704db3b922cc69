"""Which coder a stream gets: the smallest, but none that saves next to nothing of a long stream."""

import numpy as np
import pytest

from featherweight.encodings._choice import Choice, choose, floor
from featherweight.entropy.base import Stream
from featherweight.entropy.constant import Constant
from featherweight.entropy.context_range import ContextRange
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.rans import Rans
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError

STATIC = [Constant(), Raw(), Huffman(), Rans()]


def _symbols(count, skew):
    """Bytes of which a share is 0."""
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, 256, count).astype(np.uint8)
    symbols[generator.random(count) < skew] = 0
    return symbols, Stream(count, 256, (count,))


@pytest.mark.parametrize("count", [1000, 70_000])
@pytest.mark.parametrize("skew", [0.3, 0.9, 1.0])
def test_the_smallest_wins(count, skew):
    pair = _symbols(count, skew)
    sizes = {}
    for coder in STATIC:
        try:
            sizes[coder.code] = len(coder.to_bits(*pair))
        except EncodingError:
            continue
    chosen = choose(*pair, STATIC)
    assert (chosen.size, chosen.coder.code) == min((size, code) for code, size in sizes.items())
    assert chosen.data in (None, chosen.coder.to_bits(*pair))
    assert floor(*pair, STATIC) <= chosen.size


def test_a_long_stream_is_not_coded_for_next_to_nothing():
    short, long = _symbols(60_000, 0.02), _symbols(70_000, 0.02)
    for pair, code in ((short, Rans.code), (long, Raw.code)):
        assert len(Rans().to_bits(*pair)) < len(Raw().to_bits(*pair))
        assert choose(*pair, [Raw(), Rans()]).coder.code == code
    assert choose(*_symbols(70_000, 0.1), [Raw(), Rans()]).coder.code == Rans.code


def test_the_floor_is_known_for_long_streams_and_static_codes_alone():
    assert floor(*_symbols(1000, 0.5), STATIC) == 0
    assert floor(*_symbols(70_000, 0.5), [*STATIC, ContextRange()]) == 0
    assert 0 < floor(*_symbols(70_000, 0.5), STATIC) < 70_000


def test_a_stream_that_nobody_holds():
    raw = Raw()
    assert choose(*_symbols(10, 0.5), [raw]) == Choice(raw, 10)
    with pytest.raises(EncodingError, match="no coder holds"):
        choose(*_symbols(10, 0.5), [Constant()])


def test_what_coding_must_save_is_what_the_encoding_says():
    pair = _symbols(70_000, 0.1)
    assert choose(*pair, [Raw(), Rans()], worth=1 / 128).coder.code == Rans.code
    assert choose(*pair, [Raw(), Rans()], worth=1 / 4).coder.code == Raw.code
