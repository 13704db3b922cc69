import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from featherweight.container import writer
from featherweight.container.header import tensor_record
from featherweight.container.spec import ExtraRecord, Header
from featherweight.container.writer import Contents, Spool, pieces, write
from featherweight.core import atomic
from featherweight.errors import StorageError, UsageError


def contents(*bodies, names=None, **more):
    names = names or [f"n{place}" for place in range(len(bodies))]
    extras = tuple(ExtraRecord(name, False, len(body)) for name, body in zip(names, bodies, strict=True))
    return Contents(Header((), None, (), extras), [lambda body=body: body for body in bodies], False, **more)


def test_the_file_is_its_pieces(tmp_path):
    made = contents(b"one", bytes(70_000), b"", minor=3)
    write(tmp_path / "a", made)
    data = (tmp_path / "a").read_bytes()
    assert data == b"".join(pieces(made))
    assert data[9] == 3
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


def test_one_section_at_a_time_is_in_memory(tmp_path):
    alive, most = [0], [0]

    class Body(bytes):
        def __new__(cls):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return super().__new__(cls, 1000)

        def __del__(self):
            alive[0] -= 1

    extras = tuple(ExtraRecord(f"n{place}", False, 1000) for place in range(20))
    write(tmp_path / "a", Contents(Header((), None, (), extras), [Body] * 20, False))
    assert most[0] <= 2


def test_what_no_reader_accepts_is_not_written(tmp_path):
    (tmp_path / "a").write_text("old")
    for names in (["a/b"], ["a", "a"], ["x" * 256]):
        with pytest.raises(UsageError, match=r"cannot be kept in a .fwt file"):
            write(tmp_path / "a", contents(*[b"1"] * len(names), names=names))
    with pytest.raises(UsageError, match="cannot be kept"):
        write(tmp_path / "a", contents(*[b""] * 65))
    assert (tmp_path / "a").read_text() == "old"


def test_a_section_of_another_length_than_its_record(tmp_path):
    record = ExtraRecord("a", False, 5)
    with pytest.raises(UsageError, match="a section of 5 bytes"):
        write(tmp_path / "a", Contents(Header((), None, (), (record,)), [lambda: b"four"], False))
    assert list(tmp_path.iterdir()) == []


def test_the_error_names_the_bytes_needed(tmp_path, monkeypatch):
    made = contents(b"x" * 1000)
    size = len(b"".join(pieces(made)))

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(StorageError, match=f"{size} bytes are needed"):
        write(tmp_path / "a", made)
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_of_any_size_of_memory_can_be_written(tmp_path):
    """The writer's own check of the header does not depend on how much memory is free."""
    record = tensor_record("a", (2**31 - 1, 2), (0, 0, 0, 1))
    write(tmp_path / "a", Contents(Header((record,), None, (), ()), [lambda: b"\0"], False))
    assert (tmp_path / "a").stat().st_size < 200


# spool -----------------------------------------------------------------------------------------------------------


def test_a_spool_gives_back_what_it_was_given(tmp_path):
    with Spool(tmp_path / "a") as spool:
        kept = [spool.add(bytes([place]) * place * 100) for place in range(20)]
        for place in (5, 0, 19, 5):
            assert kept[place]() == bytes([place]) * place * 100
    assert list(tmp_path.iterdir()) == []


def test_a_large_spool_moves_to_a_file_that_nobody_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_IN_MEMORY", 1000)
    with Spool(tmp_path / "a") as spool:
        first, second = spool.add(b"x" * 5000), spool.add(b"y" * 10)
        assert list(tmp_path.iterdir()) == []
        assert (first(), second()) == (b"x" * 5000, b"y" * 10)


def test_a_spool_in_no_directory(tmp_path):
    with pytest.raises(StorageError, match="Create the directory first"):
        Spool(tmp_path / "no" / "a")


KILLED = """
import os, signal
from featherweight.container import writer
writer._IN_MEMORY = 10
spool = writer.Spool({path!r})
spool.add(b"x" * 100_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_spool_behind(tmp_path):
    code = KILLED.format(path=str(tmp_path / "a"))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    if not hasattr(tempfile, "_O_TMPFILE_WORKS") or not tempfile._O_TMPFILE_WORKS:
        pytest.skip("this system has no files without a name")
    assert list(Path(tmp_path).iterdir()) == []
