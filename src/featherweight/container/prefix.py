"""The first 40 bytes of a file: what it is, how long it is, and what it will cost to decode. Rules P1 to P12."""

import struct
import zlib
from dataclasses import dataclass

from featherweight.container.limits import MAX_SIZE, Limits
from featherweight.container.spec import (
    DIGEST_BYTES,
    FLAG_NONFINITE,
    KNOWN_FLAGS,
    MAGIC,
    MAJOR,
    MIN_FILE_BYTES,
    MINOR,
    PREFIX_BYTES,
)
from featherweight.errors import FormatError

_FORM = struct.Struct("<8sBBHIQQI")  # and the checksum of these 36 bytes
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The fields of the prefix, in the order in which they are stored (little-endian)."""

    major: int = MAJOR
    minor: int = MINOR
    flags: int = 0
    header_length: int  # bytes
    decoded_bytes: int  # of all sections
    file_length: int  # bytes
    header_checksum: int  # CRC-32

    @property
    def nonfinite(self) -> bool:
        """Whether some tensor holds NaN or infinity."""
        return bool(self.flags & FLAG_NONFINITE)

    def to_bytes(self) -> bytes:
        """The 40 bytes."""
        body = _FORM.pack(
            MAGIC,
            self.major,
            self.minor,
            self.flags,
            self.header_length,
            self.decoded_bytes,
            self.file_length,
            self.header_checksum,
        )
        return body + _CHECKSUM.pack(zlib.crc32(body))


def parse(data: bytes, size: int, limits: Limits) -> Prefix:
    """The prefix of a file of `size` bytes that begins with `data` (its first 40 bytes, or all of a shorter file).

    Raises: FormatError for a broken rule or a file beyond the limits.
    """
    _check_magic(data)
    if len(data) < PREFIX_BYTES:
        raise _truncated(len(data), MIN_FILE_BYTES)
    if zlib.crc32(data[: _FORM.size]) != _CHECKSUM.unpack_from(data, _FORM.size)[0]:
        raise _error("E_CHECKSUM", "the first 40 bytes are damaged", _FORM.size)
    _, major, minor, flags, header_length, decoded, length, checksum = _FORM.unpack_from(data)
    prefix = Prefix(
        major=major,
        minor=minor,
        flags=flags,
        header_length=header_length,
        decoded_bytes=decoded,
        file_length=length,
        header_checksum=checksum,
    )
    _check_sizes(prefix, size)
    _check_budget(prefix, limits)
    return prefix


def _check_magic(data: bytes) -> None:
    begin = data[: len(MAGIC)]
    if begin != MAGIC:
        if begin and MAGIC.startswith(begin):
            raise _truncated(len(begin), MIN_FILE_BYTES)
        fix = "Give a file that featherweight wrote."
        if begin[1:4] == MAGIC[1:4]:
            fix = "It was damaged by a transfer in text mode: copy it again in binary mode."
        raise _error("E_MAGIC", "this is no .fwt file", 0, begin, fix)
    if len(data) > len(MAGIC) and data[len(MAGIC)] != MAJOR:
        raise _error(
            "E_VERSION",
            f"this release of featherweight reads version {MAJOR} of the format",
            len(MAGIC),
            data[len(MAGIC)],
            "Read it with a release that knows that version.",
        )


def _check_sizes(prefix: Prefix, size: int) -> None:
    if prefix.flags & ~KNOWN_FLAGS:
        raise _error("E_PADDING", "flags that have no meaning are set", 10, hex(prefix.flags))
    for offset, what, value in ((16, "decoded size", prefix.decoded_bytes), (24, "length", prefix.file_length)):
        if value > MAX_SIZE:
            raise _error("E_OVERFLOW", f"the {what} is beyond 2^53 - 1", offset, value)
    if prefix.header_length > prefix.file_length - PREFIX_BYTES - DIGEST_BYTES or prefix.header_length == 0:
        raise _error("E_HEADER_SIZE", "the header does not fit the file", 12, prefix.header_length)
    if size < prefix.file_length:
        raise _truncated(size, prefix.file_length)
    if size > prefix.file_length:
        extra = size - prefix.file_length
        raise _error("E_TRAILING", "bytes follow the end of the file", prefix.file_length, extra, "Cut them off.")


def _check_budget(prefix: Prefix, limits: Limits) -> None:
    if prefix.header_length > limits.header_bytes:
        raise _error(
            "E_HEADER_SIZE",
            f"the header is longer than the limit of {limits.header_bytes} bytes",
            12,
            prefix.header_length,
            "If you trust the file, give Limits(header_bytes=...).",
        )
    budget = limits.budget()
    if prefix.decoded_bytes > budget:
        raise _error(
            "E_BUDGET",
            f"decoding takes more than the {budget} bytes that may be used",
            16,
            prefix.decoded_bytes,
            "If you trust the file, give Limits(decoded_bytes=...).",
        )


def _truncated(size: int, needed: int) -> FormatError:
    return _error("E_TRUNCATED", f"truncated: has {size} bytes, needs {needed}", size, size, "Copy it again.")


def _error(code: str, what: str, offset: int, value: object = None, fix: str = "") -> FormatError:
    return FormatError(code, what, section="prefix", offset=offset, value=value, fix=fix)
