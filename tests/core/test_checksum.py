"""Checksums are those of zlib, whoever computes them."""

import zlib

import pytest

from featherweight.core import checksum

DATA = bytes((index * index + 7 * index) >> 3 & 255 for index in range(70_000))


@pytest.fixture(params=["chosen", "zlib"])
def way(request, monkeypatch):
    """What is chosen here, and the way without a native floor."""
    if request.param == "zlib":
        monkeypatch.setattr(checksum, "_FAST", None)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 1023, 1024, 1025, 1040, 4095, 65_536, 70_000])
def test_crc32_is_that_of_zlib(way, length):
    assert checksum.crc32(DATA[:length]) == zlib.crc32(DATA[:length])
    assert checksum.crc32(memoryview(DATA)[3 : 3 + length]) == zlib.crc32(DATA[3 : 3 + length])


@pytest.mark.parametrize("cut", [0, 5, 1024, 40_001])
def test_crc32_goes_on_where_it_was(way, cut):
    assert checksum.crc32(DATA[cut:], checksum.crc32(DATA[:cut])) == zlib.crc32(DATA)


def test_crc32_reads_what_can_be_written_too(way):
    assert checksum.crc32(memoryview(bytearray(DATA))) == zlib.crc32(DATA)
