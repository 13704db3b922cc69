import struct
import zlib

import pytest

from featherweight.container.limits import Limits
from featherweight.container.prefix import Prefix, parse
from featherweight.errors import FormatError

PREFIX = Prefix(header_length=100, decoded_bytes=5000, file_length=300, header_checksum=0xDEADBEEF, minor=3)


def test_the_bytes():
    raw = PREFIX.to_bytes()
    assert raw[:36].hex() == "894657540d0a1a0a010300006400000088130000000000002c01000000000000efbeadde"
    assert struct.unpack("<I", raw[36:])[0] == zlib.crc32(raw[:36])


def test_what_is_written_is_read():
    assert parse(PREFIX.to_bytes(), 300, Limits()) == PREFIX
    assert not PREFIX.nonfinite
    assert Prefix(flags=1, header_length=1, decoded_bytes=0, file_length=73, header_checksum=0).nonfinite


def refused(prefix, size=None, limits=None):
    with pytest.raises(FormatError) as caught:
        parse(prefix.to_bytes(), prefix.file_length if size is None else size, limits or Limits())
    return caught.value


def changed(**fields):
    return Prefix(**{**PREFIX.__dict__, **fields})


def test_messages_name_what_is_there_and_what_is_needed():
    assert "truncated: has 299 bytes, needs 300" in str(refused(PREFIX, size=299))
    assert "Copy it again" in str(refused(PREFIX, size=299))
    assert "Limits(decoded_bytes=...)" in str(refused(PREFIX, limits=Limits(decoded_bytes=4999)))
    assert "Limits(header_bytes=...)" in str(refused(PREFIX, limits=Limits(header_bytes=99)))
    assert "reads version 1" in str(refused(changed(major=2)))


def test_text_mode_damage_is_named():
    with pytest.raises(FormatError, match="text mode"):
        parse(PREFIX.to_bytes().replace(b"\r\n", b"\n"), 299, Limits())


def test_limits_are_inclusive():
    assert parse(PREFIX.to_bytes(), 300, Limits(decoded_bytes=5000, header_bytes=100)) == PREFIX


@pytest.mark.parametrize(
    ("fields", "code", "offset"),
    [
        ({"header_length": 229}, "E_HEADER_SIZE", 12),
        ({"header_length": 0}, "E_HEADER_SIZE", 12),
        ({"file_length": 2**53}, "E_OVERFLOW", 24),
        ({"decoded_bytes": 2**53}, "E_OVERFLOW", 16),
        ({"flags": 0x8000}, "E_PADDING", 10),
    ],
)
def test_fields_out_of_range(fields, code, offset):
    error = refused(changed(**fields))
    assert (error.code, error.offset) == (code, offset)


def test_the_largest_header_that_fits():
    fitting = changed(header_length=228)
    assert parse(fitting.to_bytes(), 300, Limits()) == fitting


def test_an_unknown_version_is_told_before_its_checksum():
    raw = bytearray(PREFIX.to_bytes())
    raw[8] = 7
    with pytest.raises(FormatError) as caught:
        parse(bytes(raw), 300, Limits())
    assert caught.value.code == "E_VERSION"
