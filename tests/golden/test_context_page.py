"""What docs/format.md says of coder 4 is what is done."""

import math

import context_page as page
import numpy as np
import pytest
import test_coders

from featherweight.core.native import native
from featherweight.entropy.base import Stream
from featherweight.entropy.context_range import BLOCK, ContextRange


def read(data, stream):
    return page.decode(data, stream.count, stream.alphabet, stream.shape, stream.signed, stream.trellis)


@pytest.mark.parametrize("name", test_coders.CONTEXT)
def test_golden_streams(name):
    numbers, stream, written = test_coders.CONTEXT[name]
    assert read(bytes.fromhex(written), stream) == list(numbers)


@pytest.mark.parametrize("shape", [(400,), (20, 20), (8, 6, 3, 3), (5, 4, 7), (10, 1, 5, 5)], ids=str)
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0, 50.0, 5000.0, 1e8])
def test_levels(shape, scale):
    numbers = np.rint(np.random.default_rng(0).laplace(0, scale, math.prod(shape))).astype(np.int64)
    symbols = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint32)
    for trellis in (0, len(symbols), len(symbols) // shape[0]):
        stream = Stream(len(symbols), max(int(symbols.max()) + 1, 3), shape, signed=True, trellis=trellis)
        assert read(ContextRange().to_bits(symbols, stream), stream) == symbols.tolist()


@pytest.mark.parametrize("alphabet", [2, 3, 77, 256, 257, 5000, 1 << 32])
def test_bits_and_classes(alphabet):
    random = np.random.default_rng(1)
    for numbers in (random.geometric(0.3, 300) % alphabet, random.integers(0, alphabet, 300)):
        stream = Stream(300, alphabet, (20, 15))
        assert read(ContextRange().to_bits(numbers.astype(np.uint32), stream), stream) == numbers.tolist()


@pytest.mark.slow
@pytest.mark.skipif(native is None, reason="takes a minute without native/")
@pytest.mark.parametrize("shape", [(), (3, 200_000), (2, 300_000), (1, 600_000)], ids=str)
def test_blocks(shape):
    symbols = (np.random.default_rng(2).random(600_000) < 0.01).astype(np.uint8)
    stream = Stream(600_000, 2, shape)
    assert stream.count > BLOCK
    assert read(ContextRange().to_bits(symbols, stream), stream) == symbols.tolist()
