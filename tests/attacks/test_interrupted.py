"""Saving that is killed, runs out of room or may not write: the old file or the new one, and nothing else."""

import hashlib
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from forge import Forge, Section
from reference import REFERENCES

from featherweight.container import pack, writer
from featherweight.container.limits import Limits
from featherweight.container.pack import load, save
from featherweight.core import atomic
from featherweight.errors import FormatError, StorageError
from featherweight.frontends.safetensors import holder_of

FORK = multiprocessing.get_context("fork")  # a child that need not import everything again


def save_for_ever(path):
    models = [holder_of({"a": torch.full((120_000,), value) + torch.arange(120_000.0)}) for value in (1.0, 2.0)]
    while True:
        for model in models:
            save(path, model)


def in_child(function):
    """What `function()` gives in a process of its own, whose limits nobody else feels."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: theirs.send(function()))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    return ours.recv()


def first_value(path):
    return float(load(path).state_dict()["a"][0])


@pytest.fixture
def old(tmp_path):
    """A file that must survive."""
    save(tmp_path / "model.fwt", holder_of({"a": torch.zeros(3)}))
    return tmp_path / "model.fwt"


def kill_while_saving(path, kills, rng):
    """Kills a process that saves over `path` again and again; gives the states of the file that were found."""
    found = set()
    for _ in range(kills):
        child = FORK.Process(target=save_for_ever, args=(path,))
        child.start()
        time.sleep(rng.uniform(0.0, 0.25))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        found.add(first_value(path))  # raises for a file that is neither the old nor the new one
    return found


def check_sweep(directory):
    """Strays of killed savers go with the next save, once they are old."""
    strays = [path for path in directory.iterdir() if path.name.startswith(".fw-")]
    for stray in strays:
        os.utime(stray, (time.time() - 7200,) * 2)
    save(directory / "other.fwt", holder_of({"a": torch.zeros(1)}))
    assert [path for path in directory.iterdir() if path.name.startswith(".fw-")] == []


def test_killed_while_saving(old):
    found = kill_while_saving(old, 8, random.Random(1))
    assert found <= {0.0, 1.0, 2.0}
    check_sweep(old.parent)


@pytest.mark.slow
def test_killed_fifty_times_while_saving(old):
    found = kill_while_saving(old, 50, random.Random(2))
    assert found <= {0.0, 1.0, 2.0}
    assert {1.0, 2.0} & found, "no save was ever complete: the kills come too early"
    check_sweep(old.parent)


# every call of the system fails once -------------------------------------------------------------------------------

CALLS = ["open", "fdopen", "fsync", "close"]


@pytest.mark.parametrize("number", [28, 5, 30, 4], ids=["ENOSPC", "EIO", "EROFS", "EINTR"])
def test_whatever_call_fails_the_file_is_old_or_new(old, monkeypatch, number):
    """The Nth call of the system fails, for N = 1, 2, 3 ... until saving succeeds."""
    model = holder_of({"a": torch.full((5,), 7.0)})
    for nth in range(1, 60):
        left = [nth]
        with monkeypatch.context() as patch:
            calls = {call: failing(getattr(os, call), left, number) for call in CALLS}
            patch.setattr(atomic, "os", types.SimpleNamespace(**(vars(os) | calls)))
            patch.setattr(Path, "replace", failing(Path.replace, left, number))
            try:
                save(old, model)
            except StorageError as error:
                assert str(old) in str(error)
        content = first_value(old)
        assert content in (0.0, 7.0)
        assert [path.name for path in old.parent.iterdir()] == [old.name]
        if left[0] > 0:
            assert content == 7.0
            assert nth > len(CALLS)
            return
    pytest.fail("saving never came to its end")


def failing(real, left, number):
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    return call


# room ----------------------------------------------------------------------------------------------------------------


def mounted(tmp_path, *arguments):
    """Mounts something on a new directory; skips loudly where that is not allowed."""
    place = tmp_path / "mounted"
    place.mkdir()
    done = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is refused here: {done.stderr.strip()}")
    return place


@pytest.fixture
def unmount(tmp_path):
    yield
    subprocess.run(["umount", str(tmp_path / "mounted")], capture_output=True, check=False)


def large_model(megabytes):
    torch.manual_seed(0)
    return holder_of({"a": torch.randn(megabytes * 2**18)})


@pytest.mark.usefixtures("unmount")
def test_a_full_disk(tmp_path):
    place = mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    save(place / "model.fwt", holder_of({"a": torch.zeros(3)}))
    with pytest.raises(
        StorageError, match=r"mounted/model.fwt: cannot be written: No space left.*\d+ bytes are needed"
    ):
        save(place / "model.fwt", large_model(2))
    assert [path.name for path in place.iterdir()] == ["model.fwt"]
    assert first_value(place / "model.fwt") == 0.0


@pytest.mark.usefixtures("unmount")
def test_a_disk_too_full_for_the_spool(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_IN_MEMORY", 1000)
    place = mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    with pytest.raises(StorageError, match=r"No space left.*bytes are needed.*Free some space"):
        save(place / "model.fwt", large_model(2))
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("unmount")
def test_a_read_only_place(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    save(source / "model.fwt", holder_of({"a": torch.zeros(3)}))
    place = mounted(tmp_path, "--bind", str(source))
    done = subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"remounting read-only is refused here: {done.stderr.strip()}")
    with pytest.raises(StorageError, match=r"[Rr]ead-only"):
        save(place / "model.fwt", holder_of({"a": torch.ones(3)}))
    assert first_value(place / "model.fwt") == 0.0


def test_a_limit_on_the_size_of_files(old):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save(old, large_model(1))
        except StorageError as error:
            return str(error)
        return ""

    message = in_child(limited)
    assert "File too large" in message
    assert "ulimit -f" in message
    assert first_value(old) == 0.0
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_memory_that_is_limited_gives_a_typed_error(tmp_path):
    """A file of a few bytes that decodes to a gibibyte, in a process that may not have it."""
    bomb = Section("a", b"\0", shape=[2**28], spec=[0, 0, 0, 1])  # dense float32, every byte the same
    (tmp_path / "bomb.fwt").write_bytes(Forge(tensors=[bomb], decoded=2**30).build())

    def limited():
        status = Path("/proc/self/status").read_text(encoding="ascii")
        used = int(status.split("VmSize:")[1].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
        codes = []
        for limits in (Limits(decoded_bytes=2**29), Limits(decoded_bytes=2**33)):
            try:
                load(tmp_path / "bomb.fwt", limits=limits)
            except FormatError as error:
                codes.append((error.code, "more memory than there is" in str(error)))
        return codes

    assert in_child(limited) == [("E_BUDGET", False), ("E_BUDGET", True)]


# the same bytes everywhere -------------------------------------------------------------------------------------------

DETERMINED = """
import hashlib, sys, torch
torch.set_num_threads(int(sys.argv[1]))
sys.path.insert(0, sys.argv[2])
from reference import REFERENCES
from pathlib import Path
digest = hashlib.sha256()
for name, build in REFERENCES.items():
    digest.update(build(6).save(Path(sys.argv[3])))
print(digest.hexdigest())
"""


def digest_in_fresh_process(path, number):
    threads = str(1 + number % 2)
    environment = os.environ | {"PYTHONHASHSEED": str(1000 * number + 1), "OMP_NUM_THREADS": threads}
    arguments = [sys.executable, "-c", DETERMINED, threads, str(Path(__file__).parent), str(path)]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout


def digest_here(path):
    digest = hashlib.sha256()
    for build in REFERENCES.values():
        digest.update(build(6).save(path))
    return digest.hexdigest() + "\n"


def test_a_fresh_process_writes_the_same_bytes(tmp_path):
    """With another seed of hashes and another number of threads."""
    assert digest_in_fresh_process(tmp_path / "file", 1) == digest_here(tmp_path / "file")


@pytest.mark.slow
def test_ten_fresh_processes_write_the_same_bytes(tmp_path):
    assert {digest_in_fresh_process(tmp_path / "file", number) for number in range(10)} == {digest_here(tmp_path / "f")}


def test_a_deep_failure_is_not_hidden(old, monkeypatch):
    """An error that is not about storage goes through as it is, and the old file stays."""

    def fail(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(pack, "write", fail)
    with pytest.raises(ZeroDivisionError):
        save(old, holder_of({"a": torch.ones(3)}))
    assert first_value(old) == 0.0
