import zlib

from featherweight.container import layout
from featherweight.container.spec import ExtraRecord, Header


def placed(*lengths, header_length=10):
    extras = tuple(ExtraRecord(f"n{place}", False, length) for place, length in enumerate(lengths))
    return layout.sections(Header((), None, (), extras), header_length)


def test_small_sections_follow_each_other_tightly():
    found = placed(3, 0, 65_535, 1)
    assert [(section.start, section.end, section.padding) for section in found] == [
        (50, 57, 0),
        (57, 61, 0),
        (61, 65_600, 0),
        (65_600, 65_605, 0),
    ]
    assert layout.file_length(found, 10) == 65_605 + 32


def test_large_sections_are_aligned_whatever_lies_before():
    for before in range(70):
        small, large, last = placed(before, 65_536, 1)
        assert large.start % 64 == 0
        assert large.start - large.padding == small.end
        assert 0 <= large.padding < 64
        assert last.start == large.end


def test_a_file_without_sections():
    assert layout.file_length((), 17) == 40 + 17 + 32


def test_the_checksum_covers_number_name_and_bytes():
    first, second = placed(5, 5)
    assert layout.checksum(first, b"hello") == zlib.crc32(b"\0\0\0\0n0\0hello")
    assert layout.checksum(second, b"hello") == zlib.crc32(b"\1\0\0\0n1\0hello")
    assert layout.checksum(first, memoryview(b"hello")) == layout.checksum(first, b"hello")
