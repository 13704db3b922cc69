"""If it is written, it runs: README, doctests, generated pages."""

import doctest
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch import nn
from typer.main import get_command

import featherweight
from featherweight.cli.app import app
from featherweight.core.catalog import module_from_file, module_named
from featherweight.recipes.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/how-to").glob("*.md")),
]
PAGES += sorted((ROOT / "docs/techniques").rglob("*.md"))


def _blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language on a Markdown page."""
    return re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def _digits():
    """A trained network and its data, as a reader of the README has them: 8x8 digits, trained in a second."""
    images, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    images = images.float() / 16
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[:1200]), labels[:1200]).backward()
        optimizer.step()
    return {"model": model, "train": (images[:1200], labels[:1200]), "validation": (images[1200:], labels[1200:])}


def _accuracy(model, inputs, target):
    with torch.no_grad():
        return (model(inputs).argmax(1) == target).float().mean().item()


def test_the_python_of_the_readme_does_what_it_says(tmp_path, monkeypatch):
    (block,) = _blocks(ROOT / "README.md", "python")
    monkeypatch.chdir(tmp_path)
    names = _digits()
    before = _accuracy(names["model"], *names["validation"])
    dense = 4 * sum(parameter.numel() for parameter in names["model"].parameters())
    exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "small.fwt").stat().st_size < dense / 8
    assert _accuracy(names["small"], *names["validation"]) > before - 0.05


def test_the_recipe_of_the_readme_is_the_one_of_the_library_in_short():
    (block,) = _blocks(ROOT / "README.md", "yaml")
    recipe = Recipe.read(block)
    assert recipe.name == "deep_compression"
    assert [step.use for step in recipe.steps] == [step.use for step in Recipe.read("deep_compression").steps]
    assert Recipe.read(recipe.to_yaml()) == recipe


def test_recipes_on_the_pages_validate():
    found = [block for page in PAGES for block in _blocks(page, "yaml") if "steps" in yaml.safe_load(block)]
    assert len(found) >= 3
    for block in found:
        assert Recipe.read(block).steps


def _commands(page: Path) -> list[list[str]]:
    lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("featherweight ")]


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: page.stem)
def test_command_lines_on_the_pages_are_understood(page):
    """Verb, arguments and options are parsed as the command line does, without running the verb."""
    group = get_command(app)
    for _, verb, *arguments in _commands(page):
        command = group.get_command(None, verb)
        assert command is not None, f"{page.name}: no verb {verb}"
        assert command.make_context(verb, arguments).params


def test_make_targets_on_the_pages_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", page.read_text(), re.M)}
    assert {first or second for first, second in named} <= targets


def test_the_task_of_the_guide_is_one(tmp_path):
    (block,) = [text for text in _blocks(ROOT / "docs/how-to/compress-your-network.md", "python") if "def task" in text]
    (tmp_path / "mine.py").write_text(block)
    task = module_from_file(tmp_path / "mine.py").task()
    assert task.build()(*task.inputs()).shape == (1, 10)
    assert [len(task.examples(split)) for split in ("train", "validation", "test")] == [400, 100, 100]


def test_the_technique_of_the_guide_is_one(tmp_path):
    (block,) = _blocks(ROOT / "docs/how-to/write-a-technique.md", "python")
    (tmp_path / "smallest.py").write_text(block)
    technique = module_from_file(tmp_path / "smallest.py").Smallest(density=0.25)
    model = technique.apply(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), None)
    assert [int(torch.count_nonzero(model[index].weight)) for index in (0, 2)] == [12, 6]
    with pytest.raises(featherweight.FeatherweightError, match="nothing to prune"):
        technique.apply(nn.ReLU(), None)


def test_the_guide_rebuilds_a_pruned_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in _blocks(ROOT / "docs/how-to/rebuild-a-pruned-network.md", "python"):
        exec(compile(block, "rebuild-a-pruned-network.md", "exec"), names)
    x = torch.randn(2, 8)
    assert names["pruned"][0].out_features == 4
    for again in (names["again"], names["fresh"]):
        assert torch.equal(again(x), names["pruned"](x))
        assert all(parameter.requires_grad for parameter in again.parameters())


def test_the_guide_takes_channels_and_blocks_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in _blocks(ROOT / "docs/how-to/structured_pruning.md", "python"):
        exec(compile(block, "structured_pruning.md", "exec"), names)
    assert names["sizes"] == {"stem": 16}
    assert names["width"] == 11  # 8 of 16 would leave a quarter
    assert [type(block).__name__ for block in names["shallow"].blocks].count("Identity") == 1
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(names["again"].eval()(x), names["shallow"].eval()(x))
    assert names["before"].groups == ()
    assert "guide::soften" in names["before"].notes[0]
    assert [len(group) for group in names["after"].groups] == [6]


def test_doctests_hold():
    """Every example in a docstring of the package."""
    failed = {}
    for found in pkgutil.walk_packages(featherweight.__path__, "featherweight."):
        if found.name.endswith("__main__"):
            continue
        result = doctest.testmod(module_named(found.name), optionflags=doctest.ELLIPSIS)
        if result.failed:
            failed[found.name] = result.failed
    assert failed == {}


def test_generated_pages_are_up_to_date(root):
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_documents_lead_somewhere(root):
    """Relative links of the Markdown files beside the site; those inside docs/ are held by the strict build."""
    dead = [
        f"{path.name}: {target}"
        for path in sorted(root.glob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (root / target).exists()
    ]
    assert dead == []
