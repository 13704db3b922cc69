"""The numbered scripts run from beginning to end, are short, and say what they say."""

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("0[1-9]_*.py"))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a script as `python script.py folder` would, in this process; gives what it prints."""

    def runner(name):
        monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
        monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
        for module in ("digits", "_trained"):  # another test may have imported its own
            monkeypatch.delitem(sys.modules, module, raising=False)
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        for module in ("digits", "_trained"):
            sys.modules.pop(module, None)
        return capsys.readouterr().out

    return runner


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short_and_say_what_they_show(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')


def test_the_file_runs_and_keeps_the_accuracy(run, tmp_path):
    pytest.importorskip("sklearn.datasets")
    text = run("01_compress.py")
    dense, opened = (float(found) for found in re.findall(r": ([\d.]+) % of 360", text))
    before, after = (int(found.replace(",", "")) for found in re.findall(r"([\d,]+) bytes became ([\d,]+)", text)[0])
    assert dense - opened < 3
    assert after == (tmp_path / "digits.fwt").stat().st_size
    assert before / after > 10


def test_weights_alone_go_through_and_come_back(run):
    pytest.importorskip("sklearn.datasets")
    text = run("02_weights_only.py")
    before, after, change = re.findall(r"([\d,]+) bytes became ([\d,]+); outputs changed by at most ([\d.]+)", text)[0]
    assert int(before.replace(",", "")) / int(after.replace(",", "")) > 3
    assert 0 < float(change) < 0.5


def test_the_profile_of_lenet_5(run):
    text = run("03_profile.py")
    assert '"macs": 2293000' in text
    assert '"parameters": 431080' in text


def test_a_recipe_of_ones_own(run):
    pytest.importorskip("sklearn.datasets")
    text = run("04_own_recipe.py")
    assert "name: gentle" in text
    assert len(re.findall(r"bytes, score 0\.9\d+ -> 0\.9\d+", text)) == 2


def test_tiers(run):
    text = run("05_tiers.py")
    sizes = {
        tier: int(size.replace(",", "")) for tier, size in re.findall(r"^(\w+) +([\d,]+) bytes", text, re.MULTILINE)
    }
    assert sizes["small"] < 0.98 * sizes["fast"] < sizes["huffman"] * 1.01


def test_every_script_has_its_test():
    names = ["01_compress.py", "02_weights_only.py", "03_profile.py", "04_own_recipe.py", "05_tiers.py"]
    names += ["06_structured.py"]
    assert names == SCRIPTS


def test_channels_and_blocks_go_and_the_network_comes_back(run):
    pytest.importorskip("sklearn.datasets")
    text = run("06_structured.py")
    scores = [float(found) for found in re.findall(r"-> ([\d.]+)", text)]
    assert min(scores) > 0.94
    blocks, channels = (int(found) for found in re.findall(r"(\d+) of", text))
    assert blocks == 4
    assert 12 <= channels < 16
