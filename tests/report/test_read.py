import json

import pytest
import torch
from torch import nn

from featherweight.container import pack
from featherweight.core.task import Task
from featherweight.encodings.attach import attach
from featherweight.encodings.sparse import Sparse
from featherweight.errors import FormatError, StorageError
from featherweight.recipes.recipe import Recipe, Step
from featherweight.recipes.run import compress
from featherweight.report.page import render
from featherweight.report.read import from_result, from_run
from featherweight.training.context import TaskContext

ENTRY = {
    "index": 0,
    "technique": "pruning.connection.magnitude",
    "settings": {"density": 0.5, "epochs": 0.0},
    "seed": 0,
    "seconds": 2.0,
    "before": {"encoded_bytes": 900, "dense_bytes": 1000},
    "after": {"encoded_bytes": 500},
    "score_before": 0.9,
    "score_after": 0.89,
    "guard": {"max_drop": 0.02, "verdict": "backed_off", "attempts": [{"strength": 0.1, "score": None}]},
    "details": {"sensitivity": {"weight": [[1.0, 0.9], [0.2, 0.5], [0.1, None]]}, "density": {"weight": 0.5}},
}


@pytest.fixture
def run(tmp_path):
    """A run directory of one finished step, as recipes/store.py lays it out."""
    model = nn.Linear(10, 8)
    attach(model, {"weight": Sparse.of(model.weight.detach(), model.weight.detach() > 0)})
    (tmp_path / "steps").mkdir()
    pack.save(tmp_path / "steps" / "00.fwt", model)
    provenance = json.dumps({"torch": "2.13", "seed": 0}).encode()
    pack.save(tmp_path / "result.fwt", model, extras={"provenance": provenance})
    recipe = {"version": 1, "name": "tiny", "steps": [{"use": "pruning.connection.magnitude"}], "coder": "huffman"}
    (tmp_path / "run.json").write_text(json.dumps({"task": "toy", "recipe": recipe}))
    (tmp_path / "ledger.json").write_text(json.dumps([ENTRY]))
    return tmp_path


def test_a_run_directory_is_read_into_a_story(run):
    story = from_run(run)
    assert (story.title, story.recipe) == ("toy", "tiny")
    assert story.stages == ("dense", "pruned", "coded")
    assert story.file_bytes == (run / "result.fwt").stat().st_size
    assert (story.score_before, story.score_after, story.dense_bytes) == (0.9, 0.89, 1000)
    assert story.steps[0].guard.attempts[0].score is None
    assert story.steps[0].settings == {"density": 0.5, "epochs": 0.0}
    assert story.curves[0].points == ((0.2, 0.5), (1.0, 0.9))
    assert story.curves[0].chosen == 0.5
    assert story.provenance == {"torch": "2.13", "seed": 0}
    assert "use: pruning.connection.magnitude" in story.recipe_text
    assert story.notes == ()


def test_settings_that_equal_their_defaults_are_left_out(run):
    entry = {**ENTRY, "settings": {"density": 0.1, "epochs": 3.0}}
    (run / "ledger.json").write_text(json.dumps([entry]))
    assert from_run(run).steps[0].settings == {"epochs": 3.0}


def test_a_technique_that_is_gone_keeps_its_settings(run):
    entry = {**ENTRY, "technique": "pruning.lost", "settings": {"amount": 1}}
    (run / "ledger.json").write_text(json.dumps([entry]))
    about = json.loads((run / "run.json").read_text())
    about["recipe"]["steps"][0]["use"] = "pruning.lost"
    (run / "run.json").write_text(json.dumps(about))
    story = from_run(run)
    assert story.steps[0].settings == {"amount": 1}
    assert '"use": "pruning.lost"' in story.recipe_text


def test_a_run_that_is_not_finished_says_so(run):
    (run / "result.fwt").unlink()
    story = from_run(run)
    assert (story.stages, story.file_bytes) == (("dense", "pruned"), None)
    assert "not finished" in render(story)


def test_a_run_that_has_just_begun_is_a_page(run):
    for path in (run / "result.fwt", run / "steps" / "00.fwt", run / "ledger.json"):
        path.unlink()
    assert "not finished" in render(from_run(run))


def test_what_is_damaged_says_so(run, tmp_path):
    (run / "steps" / "00.fwt").write_bytes(b"\x89FWT")
    with pytest.raises(FormatError):
        from_run(run)
    (run / "ledger.json").write_text('[{"index": 0}]')
    with pytest.raises(StorageError, match="ledger is damaged"):
        from_run(run)
    (run / "ledger.json").write_text("[")
    with pytest.raises(StorageError, match="cannot be read"):
        from_run(run)
    (run / "ledger.json").write_text('"text"')
    with pytest.raises(StorageError, match="no run"):
        from_run(run)


def test_a_directory_without_run(tmp_path):
    with pytest.raises(StorageError, match="holds no run"):
        from_run(tmp_path)


def test_a_result_in_memory_is_a_story_too():
    inputs = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    target = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(10, 2))
    task = Task(model=model, example=inputs[:1], train=(inputs, target), validation=(inputs, target), name="toy")
    recipe = Recipe("small", (Step.of("pruning.connection.magnitude", density=0.5, epochs=0),))
    story = from_result(compress(model, recipe, TaskContext(task)))
    assert (story.title, story.recipe, story.stages) == ("toy", "small", ("dense", "encoded", "coded"))
    assert story.steps[0].settings == {"density": 0.5, "epochs": 0.0}
    assert {layer.name: layer.nonzeros for layer in story.layers} == {"0.weight": 10, "0.bias": 2}
    assert story.notes == ()
    assert "pruning.connection.magnitude" in render(story)
