import errno
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from featherweight.core import atomic
from featherweight.core.atomic import replacing, sweep, write_atomically
from featherweight.errors import StorageError


def strays(directory):
    return [path.name for path in directory.iterdir() if path.name.startswith(".fw-")]


def test_writes_text_and_bytes(tmp_path):
    write_atomically(tmp_path / "a", "höhe")
    write_atomically(str(tmp_path / "b"), b"\0\1")
    assert (tmp_path / "a").read_bytes() == "höhe".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\1"
    assert strays(tmp_path) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_keeps_the_mode_bits_of_the_old_file(tmp_path, mode):
    target = tmp_path / "a"
    target.write_text("old")
    target.chmod(mode)
    write_atomically(target, "new")
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("new", mode)


def test_a_new_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_replaces_a_symbolic_link_and_does_not_follow_it(tmp_path):
    (tmp_path / "real").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "kept"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_any_error_in_the_block_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as file:
        file.write(b"half")
        raise error
    assert target.read_text() == "old"
    assert strays(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_every_failing_call_gives_one_clear_error(tmp_path, monkeypatch, call, number):
    target = tmp_path / "a"
    target.write_text("old")

    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(StorageError) as caught:
        write_atomically(target, b"x" * 1234)
    monkeypatch.undo()
    assert str(target) in str(caught.value)
    assert "1234 bytes" in str(caught.value)
    assert caught.value.exit_code == 74
    assert target.read_text() == "old"
    assert strays(tmp_path) == []


def test_a_full_disk_names_what_is_free(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(StorageError, match=r"10 bytes are needed, \d+ are free.* Free some space"):
        write_atomically(tmp_path / "a", b"0123456789")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory(tmp_path):
    with pytest.raises(StorageError, match="Create the directory first"):
        write_atomically(tmp_path / "no" / "a", "x")


def test_a_file_as_directory(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(StorageError, match="no directory"):
        write_atomically(tmp_path / "a" / "b", "x")


def test_refuses_to_replace_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/null")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(StorageError, match="no regular file"):
            write_atomically(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_sweeps_only_old_strays_of_dead_processes(tmp_path):
    dead, old = dead_process(), time.time() - atomic.STRAY_AGE - 60
    names = {
        "swept": f".fw-{dead}-{'0' * 16}.tmp",
        "young": f".fw-{dead}-{'1' * 16}.tmp",
        "living": f".fw-{os.getpid()}-{'2' * 16}.tmp",
        "foreign": f".fw-{dead}-note.tmp",
        "beyond": f".fw-{10**30}-{'3' * 16}.tmp",
    }
    for key, name in names.items():
        (tmp_path / name).write_text(key)
        if key != "young":
            os.utime(tmp_path / name, (old, old))
    write_atomically(tmp_path / "a", "x")
    left = {path.read_text() for path in tmp_path.iterdir()}
    assert left == {"x", "young", "living", "foreign", "beyond"}


def test_sweeping_a_directory_that_is_not_there_is_no_error(tmp_path):
    sweep(tmp_path / "no")
    assert list(tmp_path.iterdir()) == []


def test_writers_and_readers_of_one_path_never_see_half_a_file(tmp_path):
    target, torn, done = tmp_path / "a", [], threading.Event()
    contents = [bytes([letter]) * 50_000 for letter in range(65, 69)]
    write_atomically(target, contents[0])

    def read():
        while not done.is_set():
            data = target.read_bytes()
            if data not in contents:
                torn.append(len(data))

    def write(content):
        for _ in range(20):
            write_atomically(target, content)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert torn == []
    assert strays(tmp_path) == []
