"""The native way against the reference: bit for bit, on any number of threads, with every instruction set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.core.native import native
from featherweight.entropy import _huffman_native, _huffman_reference, huffman
from featherweight.entropy.base import Stream, Work
from featherweight.entropy.huffman import BLOCK, Huffman
from featherweight.errors import FormatError

pytestmark = pytest.mark.skipif(native is None, reason="native/ is not built or is switched off")

HUFFMAN = Huffman()
ISAS = native.isas() if native else []


def by(way, call):
    """What `call` gives with one of the two ways: its result, or the code and the place of its error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huffman, "_WAY", way)
        try:
            return call()
        except FormatError as error:
            return (error.code, error.offset)


def both(call):
    """The result of both ways, which must be the same."""
    found, expected = by(_huffman_native, call), by(_huffman_reference, call)
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    return found


def assert_same(symbols, alphabet):
    stream = Stream(len(symbols), alphabet)
    data = both(lambda: HUFFMAN.to_bits(symbols, stream))
    assert both(lambda: HUFFMAN.size(symbols, stream)) == len(data)
    assert np.array_equal(both(lambda: HUFFMAN.from_bits(data, stream)), symbols)
    return data


@pytest.fixture(params=ISAS)
def isa(request):
    before = native.isa()
    assert native.use_isa(request.param)
    yield request.param
    native.use_isa(before)


def drawn(kind, count, seed=0):
    """Streams that are hard in different ways, with their alphabets."""
    random = np.random.default_rng(seed)
    fibonacci = [1, 1]
    while len(fibonacci) < 22:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    chances = np.array(fibonacci) / sum(fibonacci)
    return {
        "levels": (np.minimum(np.abs(random.laplace(0, 6, count)).astype(np.uint8), 255), 256),
        "codebook": (np.clip(random.normal(16, 5, count), 0, 31).astype(np.uint8), 32),
        "two symbols": (random.integers(0, 2, count, np.uint8), 2),
        "nearly one symbol": ((random.random(count) < 1e-3).astype(np.uint8) * 77, 78),
        "longest codes": (random.choice(22, count, p=chances).astype(np.uint8), 22),
        "wide": (random.integers(0, 1 << 12, count, np.uint16), 1 << 12),
        "wide and steep": (np.minimum(random.geometric(0.004, count), 2999).astype(np.uint16), 3000),
        "scattered": (random.choice(np.array([3, 70_000, 99_999], np.uint32), count), 100_000),
        "wide type": (random.integers(0, 40, count, np.uint64), 1000),
    }[kind]


KINDS = ["levels", "codebook", "two symbols", "nearly one symbol", "longest codes", "wide", "wide and steep"]
KINDS += ["scattered", "wide type"]


@pytest.mark.parametrize("count", [4096, 5 * BLOCK + 11])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_every_instruction_set(isa, kind, count):
    assert_same(*drawn(kind, count))


@given(st.integers(2, 70_000).flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1), max_size=60))))
def test_short_streams(case):
    alphabet, numbers = case
    symbols = np.array([0, alphabet - 1, *numbers], np.uint32)
    assert_same(symbols, alphabet)


@given(st.integers(0, 2**32 - 1), st.floats(0.0005, 0.9), st.integers(BLOCK - 3, 2 * BLOCK + 3))
def test_streams_of_blocks(seed, share, count):
    drawn = np.random.default_rng(seed).geometric(share, count) - 1
    symbols = np.minimum(drawn, 255).astype(np.uint8)
    symbols[:2] = 0, 1
    assert_same(symbols, 256)


@pytest.mark.parametrize("threads", [1, 2, 4, 300])
@pytest.mark.parametrize("kind", ["levels", "wide and steep"])
def test_any_number_of_threads(kind, threads):
    symbols, alphabet = drawn(kind, 70 * BLOCK + 5)
    stream = Stream(len(symbols), alphabet)
    data = by(_huffman_native, lambda: HUFFMAN.to_bits(symbols, stream))
    found = by(_huffman_native, lambda: HUFFMAN.from_bits(data, stream, Work(threads)))
    assert np.array_equal(found, symbols)


def test_symbols_that_do_not_lie_side_by_side():
    symbols, alphabet = drawn("levels", 2 * BLOCK)
    apart = np.repeat(symbols, 3)[::3]
    assert not apart.flags.c_contiguous
    assert by(_huffman_native, lambda: HUFFMAN.to_bits(apart, Stream(len(apart), alphabet))) == assert_same(
        symbols, alphabet
    )


@given(st.data())
def test_broken_streams_give_the_same_error(data):
    """One to three changed bytes, or a cut, anywhere: the same symbols, or the same code at the same place."""
    kind, count = data.draw(st.sampled_from([("levels", 300), ("wide and steep", 300), ("levels", 2 * BLOCK + 500)]))
    symbols, alphabet = drawn(kind, count)
    stream = Stream(count, alphabet)
    coded = bytearray(HUFFMAN.to_bits(symbols, stream))
    for _ in range(data.draw(st.integers(1, 3))):
        coded[data.draw(st.integers(0, len(coded) - 1))] ^= data.draw(st.integers(1, 255))
    whole = bytes(coded[: data.draw(st.integers(len(coded) // 2, len(coded)))])
    both(lambda: HUFFMAN.from_bits(whole, stream))
    assert by(_huffman_native, lambda: HUFFMAN.from_bits(whole, stream, Work(4))) is not None


def test_wrong_calls_are_refused():
    """What only a mistake of ours can ask for."""
    lengths, order = np.array([1, 1], np.uint8), np.array([0, 1], np.uint32)
    lookup = native.HuffmanLookup(order, lengths, True)
    starts, ends, coded = np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match="full code"):
        native.HuffmanLookup(order, np.array([1, 2], np.uint8), True)
    with pytest.raises(ValueError, match="full code"):
        native.HuffmanLookup(np.array([0, 256], np.uint32), lengths, True)
    with pytest.raises(ValueError, match="one start"):
        native.huffman_decode(coded, starts, lookup, 8, np.zeros(9, np.uint8), ends, 1)
    with pytest.raises(ValueError, match="one end"):
        native.huffman_decode(coded, starts, lookup, 8, np.zeros(8, np.uint8), np.zeros(2, np.uint64), 1)
    with pytest.raises(ValueError, match="bytes"):
        native.huffman_decode(coded, starts, lookup, 8, np.zeros(8, np.uint16), ends, 1)
    with pytest.raises(ValueError, match="uint8, uint16 or uint32"):
        native.histogram(np.zeros(3, np.int8), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="outside the alphabet"):
        native.histogram(np.array([0, 2], np.uint8), np.zeros(2, np.int64))
    with pytest.raises(TypeError):
        native.histogram(np.zeros((2, 2), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="do not fit"):
        native.huffman_encode(np.zeros(99, np.uint8), np.array([0, 1], np.uint16), lengths, 0, np.zeros(12, np.uint8))
