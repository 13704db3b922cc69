"""The battery for coders finds coders that break a promise."""

import numpy as np
import pytest

from featherweight.entropy.raw import Raw
from featherweight.errors import ConformanceError, EncodingError
from featherweight.testing.coders import CHECKS, streams


class Forgetful(Raw):
    def from_bits(self, data, count, alphabet):
        return super().from_bits(data, count, alphabet)[::-1]


class Boastful(Raw):
    def size(self, symbols, alphabet):
        return max(super().size(symbols, alphabet) - 1, 0)


class Careless(Raw):
    def to_bits(self, symbols, alphabet):
        return super().to_bits(symbols % max(alphabet, 1), max(alphabet, 1))


class Credulous(Raw):
    def from_bits(self, data, count, alphabet):
        return np.zeros(min(max(count, 0), 9), np.uint8)


class Sloppy(Raw):
    """Takes any padding."""

    def from_bits(self, data, count, alphabet):
        spare = 8 * len(data) - count * (alphabet - 1).bit_length()
        if 0 < spare < 8:
            data = bytes(data[:-1]) + bytes([data[-1] >> spare << spare])
        return super().from_bits(data, count, alphabet)


@pytest.mark.parametrize(
    ("coder", "promise"),
    [
        (Forgetful, "round trip"),
        (Boastful, "size"),
        (Careless, "foreign symbols"),
        (Credulous, "other counts"),
        (Sloppy, "broken bytes"),
    ],
)
def test_finds_what_is_broken(coder, promise):
    check_promise = CHECKS[promise]
    with pytest.raises(ConformanceError):
        check_promise(coder())


@pytest.mark.parametrize("promise", CHECKS)
def test_a_coder_may_refuse_streams(promise):
    class Picky(Raw):
        def size(self, symbols, alphabet):
            if alphabet != 5:
                raise EncodingError("not mine", value=alphabet)
            return super().size(symbols, alphabet)

        def to_bits(self, symbols, alphabet):
            self.size(symbols, alphabet)
            return super().to_bits(symbols, alphabet)

    check_promise = CHECKS[promise]
    check_promise(Picky())


def test_streams_are_the_same_each_time():
    for (one, alphabet), (other, same) in zip(streams(), streams(), strict=True):
        assert alphabet == same
        assert np.array_equal(one, other)
