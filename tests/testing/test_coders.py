"""The battery for coders finds coders that break a promise."""

import numpy as np
import pytest

from featherweight.entropy.base import ALONE, Stream
from featherweight.entropy.raw import Raw
from featherweight.errors import ConformanceError, EncodingError
from featherweight.testing.coders import CHECKS, streams


class Forgetful(Raw):
    def from_bits(self, data, stream, work=ALONE):
        return super().from_bits(data, stream, work)[::-1]


class Boastful(Raw):
    def size(self, symbols, stream):
        return max(super().size(symbols, stream) - 1, 0)


class Careless(Raw):
    def to_bits(self, symbols, stream):
        alphabet = max(stream.alphabet, 1)
        return super().to_bits(symbols % alphabet, Stream(len(symbols), alphabet))


class Credulous(Raw):
    def from_bits(self, data, stream, work=ALONE):
        return np.zeros(min(max(stream.count, 0), 9), np.uint8)


class Sloppy(Raw):
    """Takes any padding."""

    def from_bits(self, data, stream, work=ALONE):
        spare = 8 * len(data) - stream.count * (stream.alphabet - 1).bit_length()
        if 0 < spare < 8:
            data = bytes(data[:-1]) + bytes([data[-1] >> spare << spare])
        return super().from_bits(data, stream, work)


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
        def size(self, symbols, stream):
            if stream.alphabet != 5:
                raise EncodingError("not mine", value=stream.alphabet)
            return super().size(symbols, stream)

        def to_bits(self, symbols, stream):
            self.size(symbols, stream)
            return super().to_bits(symbols, stream)

    check_promise = CHECKS[promise]
    check_promise(Picky())


def test_streams_are_the_same_each_time():
    for (one, stream), (other, same) in zip(streams(), streams(), strict=True):
        assert stream == same
        assert np.array_equal(one, other)
