import json

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.graph.log import Cut, Log, Removal, replay


def test_every_tensor_and_the_totals_are_shown(call, finished):
    answer = call("show", finished.file)
    assert (answer.code, answer.err) == (0, "")
    for words in ("0.weight", "32×64", "codebook", "all tensors", "2,410", "larger", "extra        ledger", "digits"):  # noqa: RUF001 - as it is printed
        assert words in answer.out


def test_the_figures_as_json_add_up(call, finished):
    shown = json.loads(call("show", finished.file, "--json").out)
    assert shown["total_bytes"] == finished.file.stat().st_size
    assert sum(row["bytes"] for row in shown["tensors"]) == shown["tensor_bytes"]
    assert sum(row["elements"] for row in shown["tensors"]) == shown["elements"] == 2410
    assert sum(row["dense_bytes"] for row in shown["tensors"]) == shown["dense_bytes"] == 9640
    assert shown["nonzeros"] == finished.printed["profile"]["nonzeros"]
    assert shown["ratio"] == pytest.approx(finished.printed["ratio"])
    assert shown["extras"]["recipe"]["name"] == "quick"
    assert shown["extras"]["provenance"]["task"] == "digits"


def test_a_file_of_other_programs_extras_and_odd_names(call, tmp_path):
    model = nn.Module()
    model.register_parameter("[red]a", nn.Parameter(torch.tensor([1.0, 0.0])))
    model.register_parameter("empty", nn.Parameter(torch.zeros(0, 3)))
    path = tmp_path / "odd.fwt"
    pack.save(path, model, extras={"theirs": b"\xff\x00", "provenance": b"[" * 100_000})
    answer = call("show", path)
    assert answer.code == 0
    assert "[red]a" in answer.out
    shown = json.loads(call("show", path, "--json").out)
    assert shown["extras"] == {"theirs": {"bytes": 2}, "provenance": {"bytes": 100_000}}
    assert [row["density"] for row in shown["tensors"]] == [0.5, None]


def test_the_log_of_surgery_is_printed_for_people_and_as_it_can_be_replayed(call, finished, tmp_path):
    log = Log((Removal({"0.weight": (Cut.of(0, 4, [0, 3]),), "0.bias": (Cut.of(0, 4, [0, 3]),)}),))
    path = tmp_path / "pruned.fwt"
    pack.save(path, replay(nn.Sequential(nn.Linear(3, 4)), log))
    answer = call("show", path, "--log")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "1  remove: 2 tensors, 0 4 -> 2 channels",
        "in all: 1 step; 1 layer cut, 4 -> 2 channels",
        "note: --log --full prints the whole log, as JSON for fw.rebuild",
    ]
    for whole in ("--full", "--json"):
        answer = call("show", path, "--log", whole)
        assert (answer.code, answer.err) == (0, "")
        assert Log.from_json(answer.out) == log
    assert "surgery" in call("show", path).out
    assert json.loads(call("show", finished.file, "--log", "--full").out)["steps"] == []
    assert call("show", finished.file, "--log").out.startswith("no surgery")


def test_full_without_log_is_refused(call, finished):
    answer = call("show", finished.file, "--full")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "Add --log" in answer.err


def broken(file, how, tmp_path):
    data = file.read_bytes()
    path = tmp_path / f"{how}.fwt"
    if how == "no_fwt":
        path.write_bytes(b"PK\x03\x04 something else entirely, and long enough to have a prefix of its own")
    elif how == "empty":
        path.touch()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 4]) + data[-39:])
    return path


@pytest.mark.parametrize("how", ["no_fwt", "empty", "truncated", "flipped"])
@pytest.mark.parametrize("verb", ["show", "verify", "decompress", "evaluate"])
def test_a_broken_file_is_one_line_with_its_code(call, finished, task_file, tmp_path, verb, how):
    target = tmp_path / "out.safetensors"
    more = {"decompress": ["-o", target], "evaluate": ["--task", task_file]}.get(verb, [])
    answer = call(verb, broken(finished.file, how, tmp_path), *more)
    assert (answer.code, answer.out) == (65, "")
    assert "E_" in answer.err
    assert answer.err.count("\n") == 1
    assert not target.exists()


@pytest.mark.parametrize("verb", ["show", "verify"])
def test_a_missing_file_and_a_directory(call, tmp_path, verb):
    for path in (tmp_path / "none.fwt", tmp_path):
        answer = call(verb, path)
        assert (answer.code, answer.out, answer.err.count("\n")) == (66, "", 1)
