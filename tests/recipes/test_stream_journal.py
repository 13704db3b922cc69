"""The journal of a streaming run: what was added is there again, what is damaged is not."""

import threading
import zlib

import pytest

from featherweight.errors import StorageError
from featherweight.recipes.stream_journal import JOURNAL, SECTIONS, Journal, Span

KNOWN = {"spec": (0, 1, 1, 5), "finite": True, "source": "ab", "seconds": (0.5,)}


def test_what_was_added_is_there_again(tmp_path):
    with Journal(tmp_path) as journal:
        first = journal.add(b"hello", index=3, **KNOWN)
        journal.add(b"", index=1, **KNOWN)
        assert (first.start, first.length, first.checksum) == (0, 5, zlib.crc32(b"hello"))
    with Journal(tmp_path) as journal:
        assert journal.finished[3] == first
        assert [journal.body(index)() for index in (3, 1)] == [b"hello", b""]
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_many_threads_add_at_once(tmp_path):
    with Journal(tmp_path) as journal:
        threads = [
            threading.Thread(target=journal.add, args=(bytes([n]) * 1000 * n,), kwargs={"index": n, **KNOWN})
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Journal(tmp_path) as journal:
        assert all(journal.body(n)() == bytes([n]) * 1000 * n for n in range(40))
    assert (tmp_path / SECTIONS).stat().st_size == sum(1000 * n for n in range(40))


@pytest.mark.parametrize("cut", range(1, 200, 13))
def test_a_torn_end_loses_only_the_last_record(tmp_path, cut):
    with Journal(tmp_path) as journal:
        for index in range(3):
            journal.add(b"x" * 10, index=index, **KNOWN)
    lines = (tmp_path / JOURNAL).read_bytes()
    length = len(lines.splitlines()[-1])
    (tmp_path / JOURNAL).write_bytes(lines[: -1 - min(cut, length)])
    with Journal(tmp_path) as journal:
        assert sorted(journal.finished) == [0, 1]
        journal.add(b"y" * 4, index=2, **KNOWN)
    with Journal(tmp_path) as journal:
        assert [journal.body(index)() for index in range(3)] == [b"x" * 10, b"x" * 10, b"y" * 4]


def test_bytes_that_no_record_speaks_of_are_written_over(tmp_path):
    with Journal(tmp_path) as journal:
        journal.add(b"kept", index=0, **KNOWN)
    with (tmp_path / SECTIONS).open("ab") as file:
        file.write(b"left by a kill")
    with Journal(tmp_path) as journal:
        assert journal.add(b"new", index=1, **KNOWN).start == 4
    assert (tmp_path / SECTIONS).read_bytes() == b"keptnew"


def test_a_span_that_ends_too_early_gives_less(tmp_path):
    (tmp_path / "f").write_bytes(bytes(10))
    assert Span(tmp_path / "f", 4, 100)() == bytes(6)
    with pytest.raises(StorageError):
        Span(tmp_path / "gone", 0, 1)()
