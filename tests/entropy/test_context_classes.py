import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy._context_classes import Classes
from featherweight.entropy._context_coder import Decoder, Encoder


def encoded(symbols, alphabet):
    encoder = Encoder()
    classes = Classes(encoder, alphabet)
    assert [classes.symbol(symbol) for symbol in symbols] == symbols
    return encoder.finish()


@given(
    st.sampled_from([2, 3, 4, 255, 256, 257, 70_000, 1 << 32]).flatmap(
        lambda a: st.tuples(st.just(a), st.lists(st.integers(0, 3).map(lambda n: n % a) | st.integers(0, a - 1)))
    )
)
def test_round_trip(case):
    alphabet, symbols = case
    decoder = Decoder(encoded(symbols, alphabet))
    classes = Classes(decoder, alphabet)
    assert [classes.symbol(0) for _ in symbols] == symbols
    assert decoder.finished()
    assert not classes.broken


@pytest.mark.parametrize(
    ("alphabet", "symbol", "bits"), [(256, 77, 8), (5, 3, 3), (257, 0, 6), (257, 1, 6), (1 << 32, 2**31, 6 + 31)]
)
def test_the_first_symbol_is_coded_with_even_chances(alphabet, symbol, bits):
    """A tree as deep as the alphabet needs; or the length of the symbol in 6 bits and what is behind its first bit."""
    told = []

    class Told(Encoder):
        def bit(self, probability, value):
            told.append(probability)
            return super().bit(probability, value)

        def plain_part(self, bits, value):
            told.extend([1 << 15] * bits)
            return super().plain_part(bits, value)

    Classes(Told(), alphabet).symbol(symbol)
    assert told == [1 << 15] * bits


def test_the_symbol_before_counts():
    """Two symbols that take turns: what one opinion knows for sure the other takes for even: 0.4 bit is left."""
    turns = [10, 200] * 300
    assert 8 * len(encoded(turns, 256)) < 400
    assert 8 * len(encoded(np.random.default_rng(0).choice([10, 200], 600).tolist(), 256)) > 550
    assert 8 * len(encoded([3, 1 << 30] * 300, 1 << 32)) < 600 + 29 * 300


def test_a_length_that_no_symbol_has():
    """Zeros decode to ones: a symbol of 63 bits."""
    classes = Classes(Decoder(b""), 1 << 32)
    assert classes.symbol(0) == 0
    assert classes.broken
    assert Classes(Decoder(b""), 256).symbol(0) == 255
