"""A checkpoint tensor by tensor: the same bytes as in memory, on any number of threads, and after any interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from featherweight.container import pack
from featherweight.core.native import native
from featherweight.errors import FormatError, InterruptedRunError, TaskError, TechniqueError, UsageError
from featherweight.frontends.resolve import read_task
from featherweight.frontends.safetensors_files import open_checkpoint
from featherweight.recipes import stream
from featherweight.recipes.recipe import Recipe, Step
from featherweight.recipes.result import save
from featherweight.recipes.run import compress
from featherweight.recipes.stream import Settings, check_fits, compress_checkpoint, needs_model
from featherweight.recipes.stream_journal import JOURNAL, SECTIONS
from featherweight.training.context import TaskContext

SHAPES = {"q.weight": (48, 64), "up.weight": (64, 30), "conv.weight": (4, 3, 3, 3), "norm.weight": (64,), "few": (9, 9)}


def _tensors(dtype=torch.float16, layers=3):
    generator = torch.Generator().manual_seed(0)
    found = {}
    for layer in range(layers):
        for name, shape in SHAPES.items():
            scale = torch.rand(shape[0], *(1 for _ in shape[1:]), generator=generator) * 0.1
            found[f"layers.{layer}.{name}"] = (torch.randn(shape, generator=generator) * scale).to(dtype)
        found[f"layers.{layer}.few"] = found[f"layers.{layer}.few"].round(decimals=1)  # with zeros of both signs
    return found | {"positions": torch.arange(300), "running_mean": torch.randn(5), "big": torch.full((3,), 1e6)}


@pytest.fixture
def checkpoint(tmp_path):
    """Two shards with their index."""
    return _saved(tmp_path / "model")


def _saved(folder, dtype=torch.float16):
    folder.mkdir()
    tensors = _tensors(dtype)
    half = len(tensors) // 2
    parts = [dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])]
    for number, part in enumerate(parts):
        save_file(part, folder / f"m-{number}.safetensors")
    places = {name: f"m-{number}.safetensors" for number, part in enumerate(parts) for name in part}
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return open_checkpoint(folder)


def _recipe(*steps, coder="huffman"):
    return Recipe("t", steps, coder=coder)


KMEANS = Step.of("representation.sharing.kmeans", bits=4, epochs=0)
HALF = Step.of("precision.low_bit.half")
BRAIN = Step.of("precision.low_bit.half", format="bfloat16", tensors=("layers.0*", "big"))
RECIPES = {
    "library": Recipe.read("weights_only"),
    "both orders": _recipe(HALF, KMEANS, coder="raw"),
    "by pattern": _recipe(
        BRAIN, Step.of("representation.sharing.kmeans", bits={"*.q": 2, "layers.1*": 3}, epochs=0, tensors=("layers*",))
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", RECIPES)
def test_the_file_is_the_one_that_comes_out_in_memory(tmp_path, dtype, name):
    checkpoint, recipe = _saved(tmp_path / "model", dtype), RECIPES[name]
    task = read_task(str(tmp_path / "model"))
    result = compress(task.build(), recipe, TaskContext(task))
    for extras in (True, False):
        out = tmp_path / f"{extras}.fwt"
        compress_checkpoint(checkpoint, recipe, out, tmp_path / f"run {extras}", Settings(extras=extras, threads=2))
        save(result, tmp_path / "memory.fwt", extras=extras)
        if not extras:
            assert out.read_bytes() == (tmp_path / "memory.fwt").read_bytes()
            continue
        with pack.open_file(out) as streamed, pack.open_file(tmp_path / "memory.fwt") as whole:
            assert streamed.header.tensors == whole.header.tensors
            assert set(streamed.extras) == set(whole.extras)
            for extra in ("recipe", "provenance"):
                assert streamed.extras[extra] == whole.extras[extra]


def test_every_number_of_threads_gives_the_same_file(checkpoint, tmp_path):
    for threads in (1, 2, 4):
        settings = Settings(threads=threads, memory=2**30 if threads > 1 else 1)
        compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / f"{threads}", tmp_path / f"r{threads}", settings)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "4").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_instruction_set_gives_the_same_file(tmp_path, dtype):
    if native is None:
        pytest.skip("the native part was not built")
    checkpoint, recipe = _saved(tmp_path / "model", dtype), replace(RECIPES["library"], coder="fast")
    before, files = native.isa(), set()
    try:
        for name in native.isas():
            native.use_isa(name)
            compress_checkpoint(checkpoint, recipe, tmp_path / name, tmp_path / f"r{name}", Settings(extras=False))
            files.add((tmp_path / name).read_bytes())
    finally:
        native.use_isa(before)
    assert len(files) == 1


def test_what_it_tells(checkpoint, tmp_path):
    made = compress_checkpoint(checkpoint, RECIPES["both orders"], tmp_path / "a.fwt", tmp_path / "run")
    parameters = sum(value.numel() for value in _tensors().values()) - 305
    assert made.summary()["parameters"] == parameters
    assert made.summary()["encoded_bytes"] == made.file.tensor_bytes
    assert made.summary()["file_bytes"] == (tmp_path / "a.fwt").stat().st_size == made.file.total_bytes
    assert [entry.technique for entry in made.ledger] == ["precision.low_bit.half", "representation.sharing.kmeans"]
    assert json.loads((tmp_path / "run/ledger.json").read_text()) == made.ledger.to_list()


# interruptions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def straight(checkpoint, tmp_path):
    """The bytes of a run that nothing stopped."""
    compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "straight.fwt", tmp_path / "straight")
    return (tmp_path / "straight.fwt").read_bytes()


def _stopped(checkpoint, tmp_path, monkeypatch, after):
    """A run that fails once `after` tensors are done; gives the names that were worked on."""
    seen, encode = [], stream.payload.encode

    def counted(encoding, coders):
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(encoding.shape)
        return encode(encoding, coders)

    monkeypatch.setattr(stream.payload, "encode", counted)
    if after < len(_tensors()):
        with pytest.raises(KeyboardInterrupt):
            compress_checkpoint(
                checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run", Settings(threads=1)
            )
    else:
        compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run", Settings(threads=1))
    monkeypatch.setattr(stream.payload, "encode", encode)
    return seen


def test_a_run_goes_on_where_it_was_stopped(checkpoint, straight, tmp_path, monkeypatch):
    assert len(_stopped(checkpoint, tmp_path, monkeypatch, 5)) == 5
    assert not (tmp_path / "a.fwt").exists()
    again = _stopped(checkpoint, tmp_path, monkeypatch, 10**6)
    assert len(again) == len(_tensors()) - 5
    assert (tmp_path / "a.fwt").read_bytes() == straight
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_file()) == [
        "ledger.json",
        "lock",
        "result.fwt",
        "run.json",
    ]


@pytest.mark.parametrize("damage", ["torn line", "flipped bytes", "lost bytes", "flipped line"])
def test_what_is_damaged_is_done_again(checkpoint, straight, tmp_path, monkeypatch, damage):
    _stopped(checkpoint, tmp_path, monkeypatch, 5)
    journal, sections = tmp_path / "run" / JOURNAL, tmp_path / "run" / SECTIONS
    lines, data = journal.read_bytes(), sections.read_bytes()
    last = json.loads(lines.splitlines()[-1].split(b" ", 1)[1])["start"]
    if damage == "torn line":
        journal.write_bytes(lines[:-20])
    elif damage == "flipped line":
        journal.write_bytes(lines[:-20] + bytes([lines[-20] ^ 1]) + lines[-19:])
    elif damage == "flipped bytes":
        sections.write_bytes(data[:last] + bytes([data[last] ^ 1]) + data[last + 1 :])
    else:
        sections.write_bytes(data[:-1])
    again = _stopped(checkpoint, tmp_path, monkeypatch, 10**6)
    assert len(again) == len(_tensors()) - 4
    assert (tmp_path / "a.fwt").read_bytes() == straight


def test_a_finished_run_gives_its_file_again(checkpoint, straight, tmp_path, monkeypatch):
    assert _stopped(checkpoint, tmp_path, monkeypatch, 10**6)
    (tmp_path / "a.fwt").unlink()
    assert _stopped(checkpoint, tmp_path, monkeypatch, 10**6) == []
    assert (tmp_path / "a.fwt").read_bytes() == straight
    (tmp_path / "run/result.fwt").write_bytes(straight[:-1] + b"?")
    with pytest.raises(FormatError, match="E_DIGEST"):
        compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run")


def test_a_signal_stops_between_two_tensors(checkpoint, straight, tmp_path, monkeypatch):
    encode = stream.payload.encode

    def signalled(encoding, coders):
        os.kill(os.getpid(), signal.SIGINT)
        return encode(encoding, coders)

    monkeypatch.setattr(stream.payload, "encode", signalled)
    with pytest.raises(InterruptedRunError, match="between two tensors"):
        compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run", Settings(threads=1))
    monkeypatch.setattr(stream.payload, "encode", encode)
    compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run")
    assert (tmp_path / "a.fwt").read_bytes() == straight


PROGRAM = """
import sys, time
from pathlib import Path
from featherweight.frontends.safetensors_files import open_checkpoint
from featherweight.recipes import stream
from featherweight.recipes.recipe import Recipe

folder, out, run = map(Path, sys.argv[1:4])
encode = stream.payload.encode
def slow(encoding, coders):
    time.sleep(0.05)  # so that a kill finds a run in its middle
    return encode(encoding, coders)
stream.payload.encode = slow
print("ready", flush=True)
stream.compress_checkpoint(open_checkpoint(folder), Recipe.read("weights_only"), out, run, stream.Settings(threads=2))
"""


def test_a_killed_run_ends_with_the_same_bytes(checkpoint, straight, tmp_path):
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in ("model", "a.fwt", "run"))]
    kills = 0
    for wait in (0.3, None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert process.stdout.readline() == b"ready\n"
        if wait is not None:
            time.sleep(wait)
            kills += process.poll() is None
            process.kill()
        process.wait()
        process.stdout.close()
        if not (tmp_path / "a.fwt").exists():
            continue
        assert (tmp_path / "a.fwt").read_bytes() == straight
        break
    assert kills > 0
    assert (tmp_path / "a.fwt").exists()


# what is refused -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_has_changed_is_another_run(checkpoint, tmp_path, monkeypatch):
    _stopped(checkpoint, tmp_path, monkeypatch, 2)
    file = checkpoint.files[0]
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    with pytest.raises(UsageError, match="another files"):
        compress_checkpoint(checkpoint, RECIPES["library"], tmp_path / "a.fwt", tmp_path / "run")


def test_recipes_that_need_the_whole_model_say_why(checkpoint, tmp_path, monkeypatch):
    trained = _recipe(Step.of("representation.sharing.kmeans", epochs=2))
    drawn = _recipe(Step.of("representation.sharing.kmeans", epochs=0, initialisation="random"))
    assert needs_model(RECIPES["library"]) is None
    assert needs_model(trained) == "step 1 (representation.sharing.kmeans) trains the shared values (epochs: 2)"
    assert "at random" in needs_model(drawn)
    assert "changes the model as a whole" in needs_model(_recipe(Step.of("pruning.connection.magnitude")))
    assert "max_drop" in needs_model(Recipe("t", RECIPES["library"].steps, max_drop=0.1))
    with pytest.raises(UsageError, match="tensor by tensor: step 1"):
        compress_checkpoint(checkpoint, trained, tmp_path / "a.fwt", tmp_path / "run")
    check_fits(checkpoint, trained)
    monkeypatch.setattr(stream, "free_memory", lambda: checkpoint.bytes)
    check_fits(checkpoint, RECIPES["library"])
    with pytest.raises(UsageError, match=f"{checkpoint.bytes} are free.*trains the shared values"):
        check_fits(checkpoint, trained)


@pytest.mark.parametrize(
    ("name", "tensor", "error", "said"),
    [
        ("a.weight", torch.full((3, 3), float("nan")), TechniqueError, "a.weight"),
        ("norm", torch.full((3,), float("inf")), TaskError, "norm.*recipe lossless"),
        ("a/b", torch.ones(2), UsageError, "U\\+002F"),
    ],
)
def test_tensors_that_cannot_be_kept_are_named(tmp_path, name, tensor, error, said):
    save_file({"fine.weight": torch.randn(4, 4), name: tensor}, tmp_path / "m.safetensors")
    with pytest.raises(error, match=said):
        compress_checkpoint(
            open_checkpoint(tmp_path / "m.safetensors"), RECIPES["both orders"], tmp_path / "a.fwt", tmp_path / "run"
        )
    assert not (tmp_path / "a.fwt").exists()


# memory --------------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
from featherweight.frontends.safetensors_files import open_checkpoint
from featherweight.recipes import stream
from featherweight.recipes.recipe import Recipe

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large, out = map(Path, sys.argv[1:4])
recipe = Recipe.read("lossless")
stream.compress_checkpoint(open_checkpoint(small), recipe, out / "s.fwt", out / "s", stream.Settings(threads=2))
before = peak()
stream.compress_checkpoint(open_checkpoint(large), recipe, out / "l.fwt", out / "l", stream.Settings(threads=2))
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    """200 MB in tensors of 2 MB: the peak rises by less than 60 MB over that of a checkpoint of four tensors."""
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{number}.weight": torch.randn(1024, 1024, generator=generator).half() for number in range(100)}
    save_file(tensors, tmp_path / "large.safetensors")
    save_file({name: tensors[name] for name in list(tensors)[:4]}, tmp_path / "small.safetensors")
    files = [str(tmp_path / name) for name in ("small.safetensors", "large.safetensors", "")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *files],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    (rise,) = re.findall(r"^\d+$", done.stdout, re.M)
    assert int(rise) < 60 * 1024
