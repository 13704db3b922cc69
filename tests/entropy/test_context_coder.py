import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.entropy._context_coder import (
    HALF,
    LEAST,
    MOST,
    Decoder,
    Encoder,
    _end,
    bounded,
    chance,
    learned,
)

BITS = st.tuples(st.just("bit"), st.integers(LEAST, MOST), st.integers(0, 1))
SURE = st.tuples(st.just("bit"), st.sampled_from([LEAST, MOST]), st.integers(0, 1))
PLAIN = st.integers(1, 40).flatmap(
    lambda bits: st.tuples(st.just("plain"), st.just(bits), st.integers(0, (1 << bits) - 1))
)


def run(coder, steps, blind):
    """Codes the steps; a decoder is told nothing."""
    return [getattr(coder, name)(about, 0 if blind else value) for name, about, value in steps]


@given(st.lists(st.one_of(BITS, SURE, PLAIN), max_size=200))
def test_what_was_coded_comes_back(steps):
    encoder = Encoder()
    values = [value for _, _, value in steps]
    assert run(encoder, steps, blind=False) == values
    data = encoder.finish()
    decoder = Decoder(data)
    assert run(decoder, steps, blind=True) == values
    assert decoder.finished()
    assert decoder.offset == len(data)
    for other in (data + b"\0", data[:-1] if data else b"\1"):
        decoder = Decoder(other)
        if run(decoder, steps, blind=True) == values:
            assert not decoder.finished()


@pytest.mark.parametrize(("value", "written"), [(0, ""), (1, "01"), (0x80, "80"), (0xFE, "fe"), (0xFF, "ff")])
def test_eight_plain_bits_by_hand(value, written):
    """The range becomes (2^64 - 1) >> 8 = 2^56 - 1, so 2^56 `value` lies in its part: one byte and seven zeros."""
    encoder = Encoder()
    encoder.plain(8, value)
    assert encoder.finish().hex() == written


@pytest.mark.parametrize(("values", "written"), [([], ""), ([1], ""), ([0], "80"), ([0, 1], "80"), ([0, 0], "c0")])
def test_even_bits_by_hand(values, written):
    """A 1 takes the lower part: of the halves of a byte 0 is the upper one, of those of that C0 the upper one."""
    encoder = Encoder()
    for value in values:
        encoder.bit(1 << 15, value)
    assert encoder.finish().hex() == written


def test_a_carry_goes_through_all_bytes_that_are_full():
    encoder = Encoder()
    encoder._out += bytes([7, 255, 255])
    encoder._low = (1 << 64) - 2
    encoder._add(5)
    assert (bytes(encoder._out), encoder._low) == (bytes([8, 0, 0]), 3)


@given(st.integers(0, (1 << 64) - 1), st.integers(1 << 32, (1 << 64) - 1))
def test_the_number_with_the_most_zero_bytes(low, span):
    more, zeros = _end(low, span)
    assert 0 <= more < span
    assert (low + more) % 256**zeros == 0
    if zeros < 8:
        assert -low % 256 ** (zeros + 1) >= span


@pytest.mark.parametrize("value", [0, 1])
def test_a_block_is_as_long_as_what_it_holds(value):
    """What the reader's limit on the count rests on: 1/1894 bit each, to 4 bytes."""
    encoder = Encoder()
    for _ in range(200_000):
        encoder.bit(MOST if value else LEAST, value)
    size = len(encoder.finish())
    assert 200_000 / 15_150 - 4 <= size <= 200_000 / 15_100 + 4


def test_the_chance_is_what_it_costs():
    """Bits of entropy, and a little for the end."""
    random = np.random.default_rng(0)
    for probability in (100, 9000, 1 << 15, 65_000):
        drawn = (random.random(20_000) < probability / 65536).astype(int)
        encoder = Encoder()
        for value in drawn.tolist():
            encoder.bit(probability, value)
        share = drawn.mean()
        right = -(share * np.log2(probability / 65536) + (1 - share) * np.log2(1 - probability / 65536)) * 20_000
        assert abs(8 * len(encoder.finish()) - right) < 40


@pytest.mark.parametrize("data", [b"\xff" * 8, b"\xff" * 20])
def test_no_number_lies_at_the_end_of_the_range(data):
    decoder = Decoder(data)
    assert decoder.broken
    assert decoder.bit(1 << 15, 0) == 1  # goes on as if the bytes were zeros, so that nothing grows
    assert not decoder.finished()
    assert not Decoder(b"\xff" * 7 + b"\xfe").broken


def test_plain_bits_behind_the_range():
    """16 times (2^60 - 1) is below 2^64 - 2: a number that 4 plain bits do not have."""
    decoder = Decoder(b"\xff" * 7 + b"\xfe")
    assert decoder.plain(4, 0) == 0
    assert decoder.broken
    assert not decoder.finished()


def test_a_chance_learns():
    seen = chance(1 << 15, 0)
    assert (seen >> 16, seen & 1023) == (1 << 15, 0)
    once = learned(seen, 1)  # two thirds of the way from a half to 1
    assert abs((once >> 16) / 65536 - 5 / 6) < 1e-4
    assert once & 1023 == 1
    twice = learned(once, 0)  # 2/5 of the way from 5/6 to 0
    assert abs((twice >> 16) / 65536 - 1 / 2) < 1e-4
    assert chance(77, 3) == 77 << 16 | 3
    assert chance(1 << 15, 0) == HALF


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 1))
def test_a_chance_stays_one(seen, bit):
    after = learned(seen, bit)
    assert 0 <= after < 1 << 32
    assert (after >> 10 >= seen >> 10) if bit else (after >> 10 <= seen >> 10)
    assert after & 1023 == min((seen & 1023) + 1, 1023)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_chance_finds_a_share(share):
    seen = HALF
    for bit in (np.random.default_rng(1).random(5000) < share).tolist():
        seen = learned(seen, int(bit))
    assert abs((seen >> 10) / (1 << 22) - share) < 5 * (share / 1024) ** 0.5


def test_bounds():
    assert [bounded(number) for number in (0, 23, 24, 40_000, 65_512, 65_513, 65_535)] == [
        24,
        24,
        24,
        40_000,
        65_512,
        65_512,
        65_512,
    ]


def test_two_opinions():
    """`near` begins with what `wide` says, as if learned from two bits; both learn; the mean is what is coded."""
    told = []

    class Told(Encoder):
        def bit(self, probability, value):
            told.append(probability)
            return super().bit(probability, value)

    wide, near = [0, chance(10_000, 50)], [0, 0, 0]
    coder = Told()
    coder.both((wide, 1), (near, 2), 1)
    assert told == [10_000]
    assert wide[1] == learned(chance(10_000, 50), 1)
    assert near[2] == learned(chance(10_000, 2), 1)
    coder.both((wide, 1), (near, 2), 0)
    assert told[1] == ((learned(chance(10_000, 50), 1) >> 16) + (learned(chance(10_000, 2), 1) >> 16)) // 2
    assert wide[0] == near[0] == near[1] == 0
