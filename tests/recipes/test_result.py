from pathlib import Path

import pytest
import torch
from tests.recipes.conftest import one, recipe
from torch import nn

from featherweight.container.pack import load, open_file
from featherweight.errors import StorageError, UnknownNameError
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.result import Result, save
from featherweight.recipes.run import compress
from featherweight.recipes.tiers import coders
from featherweight.training.context import TaskContext


@pytest.fixture
def result(task) -> Result:
    return compress(task.model, recipe(one("fake.noise", max_drop=0.9, amount=0.01)), TaskContext(task))


def test_a_result_runs_by_itself(result: Result, task, tmp_path: Path) -> None:
    report = save(result, tmp_path / "a.fwt")
    assert report.total_bytes == (tmp_path / "a.fwt").stat().st_size
    model = load(tmp_path / "a.fwt").eval()
    assert torch.equal(model(task.example), result.model.eval()(task.example))


def test_extras_can_be_left_out(result: Result, tmp_path: Path) -> None:
    whole, bare = result.save(tmp_path / "a.fwt"), result.save(tmp_path / "b.fwt", extras=False)
    assert bare.total_bytes < whole.total_bytes - 200
    with open_file(tmp_path / "b.fwt") as reader:
        assert not reader.extras


def test_a_plain_model_with_and_without_example(task, tmp_path: Path) -> None:
    save(task.model, tmp_path / "a.fwt", example=task.example)
    task.model.eval()
    assert torch.equal(load(tmp_path / "a.fwt").eval()(task.example), task.model(task.example))
    task.model.train()
    save(task.model, tmp_path / "b.fwt")
    other = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    load(tmp_path / "b.fwt", into=other)
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), task.model.state_dict().values(), strict=True)
    )


def test_the_coder_of_the_recipe_is_used(task, tmp_path: Path) -> None:
    sizes = {}
    for name in ("raw", "huffman"):
        steps = Recipe("t", Recipe.read("weights_only").steps, coder=name)
        sizes[name] = compress(task.model, steps, TaskContext(task)).save(tmp_path / name).tensor_bytes
    assert sizes["huffman"] < sizes["raw"]
    assert [type(one).__name__ for one in coders("huffman")] == ["Raw", "Constant", "Huffman"]
    assert [type(one).__name__ for one in coders("raw")] == ["Raw", "Constant"]
    with pytest.raises(UnknownNameError, match="zip"):
        coders("zip")


def test_notebooks_show_steps_and_layers_without_running_names(result: Result) -> None:
    text = result._repr_html_()
    assert "fake.noise" in text
    assert "kept" in text
    assert "BatchNorm1d" in text
    hostile = Result(
        model=result.model,
        recipe=result.recipe,
        ledger=type(result.ledger).from_list([result.ledger.to_list()[0] | {"technique": "<script>"}]),
        profile=result.profile,
    )
    assert "<script>" not in hostile._repr_html_()


def test_a_place_that_does_not_exist(result: Result, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        result.save(tmp_path / "missing" / "a.fwt")
