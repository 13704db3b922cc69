"""Files that others cut short while they are open: an error that says so, and the process lives."""

import multiprocessing
import os

import pytest
import torch

from featherweight.container.pack import load, open_file, save
from featherweight.container.source import PIECE_BYTES
from featherweight.errors import FormatError, StorageError
from featherweight.frontends.safetensors import holder_of

FORK = multiprocessing.get_context("fork")  # what a signal ends is the child, and the test tells of it
LONG = PIECE_BYTES // 2  # weights: two pieces and more


def in_child(function):
    """What `function()` gives in a process of its own, and how that process ended (0; below it the signal)."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: theirs.send(function()))
    child.start()
    found = ours.recv() if ours.poll(60) else None
    child.join(60)
    return found, child.exitcode


def error_of(function):
    try:
        function()
    except (FormatError, StorageError) as error:
        return type(error).__name__, error.code, str(error)
    return None


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    save(tmp_path / "a.fwt", holder_of({"a": torch.randn(4), "b": torch.randn(LONG)}), coders=[])
    return tmp_path / "a.fwt"


@pytest.mark.parametrize("left", [0, 40, 200, 4096, 2 * PIECE_BYTES])
def test_between_opening_and_reading(path, left):
    def read():
        with open_file(path) as reader:
            os.truncate(path, left)
            return error_of(lambda: reader.tensor("b"))

    (kind, code, text), end = in_child(read)
    assert (kind, code, end) == ("StorageError", "E_IO", 0)
    assert text.startswith(f"{path}: became shorter while it was open (got {left})")


@pytest.mark.parametrize("function", [lambda reader: reader.tensor("b"), lambda reader: reader.verify()])
def test_in_the_middle_of_reading_a_section(path, function, monkeypatch):
    pread = os.pread

    def cutting(descriptor, length, offset):
        found = pread(descriptor, length, offset)
        if length == PIECE_BYTES:
            os.truncate(path, PIECE_BYTES)
        return found

    def read():
        with open_file(path) as reader:
            monkeypatch.setattr(os, "pread", cutting)
            return error_of(lambda: function(reader))

    (kind, code, _), end = in_child(read)
    assert (kind, code, end) == ("StorageError", "E_IO", 0)


def test_while_it_is_loaded_and_changed_all_the_time(path):
    """Somebody shortens and restores the file as fast as they can: each load gives the right weights or an error."""
    whole = path.read_bytes()
    wanted = load(path).state_dict()["b"]

    def disturb():
        while True:
            os.truncate(path, len(whole) // 3)
            path.write_bytes(whole)

    def check():
        assert torch.equal(load(path).state_dict()["b"], wanted)

    def read():
        return {error_of(check) for _ in range(15)}

    other = FORK.Process(target=disturb, daemon=True)
    other.start()
    try:
        found, end = in_child(read)
    finally:
        other.kill()
        other.join()
    assert end == 0
    assert {item[1] for item in found if item} <= {"E_IO", "E_TRUNCATED", "E_CHECKSUM", "E_MAGIC", "E_DIGEST"}
