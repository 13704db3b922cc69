"""The parts of bench_checkpoint.py that need neither room nor peers."""

import sys
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """The module, which does not stay imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield import_module("bench_checkpoint")
    sys.modules.pop("bench_checkpoint", None)


def test_rows_compare_in_their_direction(bench):
    assert bench.row("memory", 900, "MB", 1500)["met"] is True
    assert bench.row("memory", 1600, "MB", 1500)["met"] is False
    assert bench.row("speed", 90, "MB/s", 100, at_most=False)["met"] is False
    assert bench.row("size", 0.5, "bytes")["met"] is None
    assert bench.row("speed", 120, "MB/s", 100, at_most=False, peer="p", peer_value=100)["peer"] == "p"


def test_the_plot_has_a_point_for_each_size(bench):
    root = ElementTree.fromstring(bench.plot([(1.0, 10.0), (2.0, 21.0), (4.0, 39.0)]))
    circles = [item for item in root.iter() if item.tag.endswith("circle")]
    assert len(circles) == 3
    assert all(0 < float(item.get("cx")) < 480 and 0 < float(item.get("cy")) < 300 for item in circles)
    assert "21 s" in {item.text for item in root.iter()}


def test_lossless_rows_without_peers_say_what_they_measured(bench):
    tensors = {"a.weight": torch.randn(300, 20).bfloat16(), "b": torch.zeros(7).bfloat16()}
    rows = {item["work"]: item for item in bench._compared("net", tensors, None)}
    for tier in ("fast", "small"):
        size = rows[f"lossless/net/bfloat16/{tier}/size"]
        assert (size["exact"], size["peer"], size["met"]) == (True, None, None)
        assert 0 < size["value"] < 2 * 6007
        assert rows[f"lossless/net/bfloat16/{tier}/file"]["value"] >= 0
    assert rows["lossless/net/bfloat16/fast/decode"]["peer"] is None
