from featherweight.container import spec
from featherweight.container.spec import Section


def test_the_magic_shows_every_usual_damage():
    assert len(spec.MAGIC) == 8
    assert spec.MAGIC[0] > 127  # seven-bit transfer
    assert b"\r\n" in spec.MAGIC  # line ends changed to unix
    assert spec.MAGIC.replace(b"\r\n", b"").count(b"\n") == 1  # and to windows
    assert b"\x1a" in spec.MAGIC  # end of text


def test_a_section_ends_behind_its_checksum():
    assert Section(0, "a", 100, 10, 3).end == 114


def test_the_smallest_file_is_prefix_header_and_digest():
    assert spec.MIN_FILE_BYTES == spec.PREFIX_BYTES + 1 + spec.DIGEST_BYTES == 73
