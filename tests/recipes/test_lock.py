import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from featherweight.errors import LockedError, StorageError
from featherweight.recipes.lock import NAME, identity, is_alive, owned

HOLDER = """
import sys, time
from pathlib import Path
from featherweight.recipes.lock import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_living_owner_is_respected_and_a_killed_one_replaced_at_once(tmp_path: Path, holder) -> None:
    with pytest.raises(LockedError, match=f"process {holder.pid} is working"), owned(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with owned(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_the_same_process_cannot_own_twice(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(LockedError), owned(tmp_path):
        pass


def test_ownership_ends_with_the_context_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), owned(tmp_path):
        raise ValueError("inside")
    with owned(tmp_path):
        assert is_alive(json.loads((tmp_path / NAME).read_text()))


@pytest.mark.parametrize(
    "change", [{"boot": "another boot"}, {"start": 1}, {"pid": 2**22 + 5}, {"pid": -1}, {"pid": "x"}]
)
def test_a_number_that_was_given_out_again_is_no_owner(tmp_path: Path, change: dict) -> None:
    me = identity(os.getpid())
    assert is_alive(me)
    assert not is_alive(me | change)
    (tmp_path / NAME).write_text(json.dumps(me | change))
    with owned(tmp_path):
        assert json.loads((tmp_path / NAME).read_text()) == me


@pytest.mark.parametrize("torn", ["", "{", '{"pid": 1', "[]", "\x00\x01"])
def test_a_torn_record_is_no_owner(tmp_path: Path, torn: str) -> None:
    (tmp_path / NAME).write_text(torn)
    with owned(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_child_that_outlives_the_owner_holds_nothing(tmp_path: Path) -> None:
    with owned(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], close_fds=False)
    try:
        with owned(tmp_path):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="lock cannot be written"), owned(tmp_path / "missing"):
        pass
