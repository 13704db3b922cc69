import os
from pathlib import Path

import pytest

from featherweight.container.source import PIECE_BYTES, FileSource, MemorySource
from featherweight.errors import FormatError, StorageError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    return path


def test_reads_pieces(file):
    with FileSource(file) as source:
        assert source.size == 200
        assert bytes(source.read(10, 3)) == b"\x0a\x0b\x0c"
        assert bytes(source.read(0, 200)) == bytes(range(200))
        assert bytes(source.read(200, 0)) == b""
        assert source.name == str(file)


def test_bytes_in_memory():
    with MemorySource(b"abcdef", "name") as source:
        assert (source.size, bytes(source.read(2, 3)), source.name) == (6, b"cde", "name")


def test_an_empty_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with FileSource(tmp_path / "a") as source:
        assert (source.size, bytes(source.read(0, 0))) == (0, b"")


def test_a_missing_file(tmp_path):
    with pytest.raises(StorageError, match=r"no: cannot be read: No such file.*Check the path"):
        FileSource(tmp_path / "no")


def test_a_path_with_nul():
    with pytest.raises(StorageError, match="no path"):
        FileSource("a\0b")


def test_what_is_no_regular_file_is_refused_before_opening_blocks(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, word in ((tmp_path, "directory"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(FormatError, match=word) as caught:
            FileSource(path)
        assert caught.value.code == "E_MAGIC"


def test_a_file_that_becomes_shorter_gives_an_error(file):
    with FileSource(file) as source:
        os.truncate(file, 50)
        with pytest.raises(StorageError, match="became shorter"):
            source.read(40, 100)
        assert bytes(source.read(40, 10)) == bytes(range(40, 50))


def test_a_closed_file_gives_an_error(file):
    source = FileSource(file)
    source.close()
    source.close()
    with pytest.raises(StorageError):
        source.read(0, 1)


def test_a_file_that_is_replaced_meanwhile_keeps_what_was_opened(file, tmp_path):
    with FileSource(file) as source:
        (tmp_path / "new").write_bytes(b"x")
        (tmp_path / "new").replace(file)
        assert bytes(source.read(198, 2)) == b"\xc6\xc7"


def test_files_are_given_back(file):
    def open_files():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    before = open_files()
    for _ in range(5):
        with FileSource(file) as source:
            source.read(0, 10)
    assert open_files() == before


def test_long_reads_can_be_given_up(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(bytes(2 * PIECE_BYTES) + b"end")
    asked = []

    def patience():
        asked.append(len(asked))
        if len(asked) > 4:
            raise TimeoutError

    with FileSource(path) as source:
        assert bytes(source.read(2 * PIECE_BYTES - 1, 4, patience)) == b"\0end"
        assert bytes(source.read(PIECE_BYTES, PIECE_BYTES + 3, patience))[-4:] == b"\0end"
        assert asked == [0, 1, 2]
        with pytest.raises(TimeoutError):
            source.read(0, 2 * PIECE_BYTES + 3, patience)


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(bytes(3 * PIECE_BYTES))
    calls = []

    def cut():
        calls.append(path.stat().st_size)
        os.truncate(path, PIECE_BYTES + 5)

    with FileSource(path) as source, pytest.raises(StorageError, match="became shorter") as caught:
        source.read(0, 3 * PIECE_BYTES, cut)
    assert caught.value.value == PIECE_BYTES + 5
    assert calls[0] == 3 * PIECE_BYTES
