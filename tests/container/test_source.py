import os
from pathlib import Path

import pytest

from featherweight.container.source import FileSource, MappedSource, MemorySource
from featherweight.errors import FormatError, StorageError

ON_DISK = [FileSource, MappedSource]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    return path


@pytest.mark.parametrize("kind", ON_DISK)
def test_reads_pieces(kind, file):
    with kind(file) as source:
        assert source.size == 200
        assert bytes(source.read(10, 3)) == b"\x0a\x0b\x0c"
        assert bytes(source.read(0, 200)) == bytes(range(200))
        assert bytes(source.read(200, 0)) == b""
        assert source.name == str(file)


def test_bytes_in_memory():
    with MemorySource(b"abcdef", "name") as source:
        assert (source.size, bytes(source.read(2, 3)), source.name) == (6, b"cde", "name")


@pytest.mark.parametrize("kind", ON_DISK)
def test_an_empty_file(kind, tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with kind(tmp_path / "a") as source:
        assert (source.size, bytes(source.read(0, 0))) == (0, b"")


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_missing_file(kind, tmp_path):
    with pytest.raises(StorageError, match=r"no: cannot be read: No such file.*Check the path"):
        kind(tmp_path / "no")


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_path_with_nul(kind):
    with pytest.raises(StorageError, match="no path"):
        kind("a\0b")


@pytest.mark.parametrize("kind", ON_DISK)
def test_what_is_no_regular_file_is_refused_before_opening_blocks(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, word in ((tmp_path, "directory"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(FormatError, match=word) as caught:
            kind(path)
        assert caught.value.code == "E_MAGIC"


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_file_that_becomes_shorter_gives_an_error(kind, file):
    with kind(file) as source:
        os.truncate(file, 50)
        with pytest.raises(StorageError, match="became shorter"):
            source.read(40, 100)
        assert bytes(source.read(40, 10)) == bytes(range(40, 50))


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_closed_file_gives_an_error(kind, file):
    source = kind(file)
    source.close()
    source.close()
    with pytest.raises(StorageError):
        source.read(0, 1)


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_file_that_is_replaced_meanwhile_keeps_what_was_opened(kind, file, tmp_path):
    with kind(file) as source:
        (tmp_path / "new").write_bytes(b"x")
        (tmp_path / "new").replace(file)
        assert bytes(source.read(198, 2)) == b"\xc6\xc7"


@pytest.mark.parametrize("kind", ON_DISK)
def test_files_are_given_back(kind, file):
    def open_files():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    before = open_files()
    for _ in range(5):
        with kind(file) as source:
            source.read(0, 10)
    assert open_files() == before
