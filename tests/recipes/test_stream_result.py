"""What is told of a streamed checkpoint, and a second place for its file."""

import os

import pytest
import torch

from featherweight.errors import StorageError
from featherweight.frontends.safetensors import holder_of
from featherweight.recipes import stream_result
from featherweight.recipes.recipe import Recipe, Step
from featherweight.recipes.stream_journal import Finished
from featherweight.recipes.stream_result import figures, ledger_of, put_at


def test_the_ledger_measures_the_end_alone():
    model = holder_of({"a": torch.empty(4, 5, device="meta"), "n": torch.empty(3, device="meta", dtype=torch.int64)})
    done = {
        0: Finished(0, (0,), 0, 7, 0, True, "", (0.25, 1.0)),
        1: Finished(1, (0,), 7, 3, 0, True, "", (0.0, 0.5)),
    }
    steps = (Step.of("representation.sharing.kmeans", epochs=0), Step.of("precision.low_bit.half"))
    ledger = ledger_of(Recipe("two", steps), 5, model, done)
    assert [entry.seconds for entry in ledger] == [0.25, 1.5]
    assert [entry.after["encoded_bytes"] for entry in ledger] == [None, 10]
    assert ledger[0].before == figures(20)
    assert figures(20)["dense_bytes"] == 80


@pytest.mark.parametrize("linkable", [True, False])
@pytest.mark.parametrize("kernel", [True, False])
def test_a_second_place_has_the_same_bytes(tmp_path, monkeypatch, linkable, kernel):
    def refuse(*arguments):
        raise OSError

    if not linkable:
        monkeypatch.setattr(os, "link", refuse)
    if not kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(stream_result, "_PIECE", 1000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(4321))
    for _ in range(2):
        put_at(source, target)
        assert target.read_bytes() == source.read_bytes()
        assert target.samefile(source) == linkable
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_place_that_cannot_be(tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(StorageError):
        put_at(tmp_path / "source", tmp_path / "nowhere" / "target")
