"""The parts of bench_checkpoint.py that need neither room nor peers."""

import sys
from argparse import Namespace
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


def test_the_plot_has_a_point_for_each_size_and_recipe(bench):
    curves = {"lossless": [(1.0, 10.0), (2.0, 21.0), (4.0, 39.0)], "weights_only": [(1.0, 5.0), (4.0, 20.0)]}
    root = ElementTree.fromstring(bench.plot(curves))
    circles = [item for item in root.iter() if item.tag.endswith("circle")]
    assert len(circles) == 5
    assert len({item.get("fill") for item in circles}) == 2
    assert all(0 < float(item.get("cx")) < 480 and 0 < float(item.get("cy")) < 300 for item in circles)
    told = [item.text for item in root.iter() if item.text]
    assert {"21 s", "5 s", "lossless 39 s", "weights_only 20 s"} <= set(told)
    assert sorted(text for text in told if text.endswith("GB")) == ["1.0 GB", "2.0 GB", "4.0 GB"]


def test_a_small_checkpoint_goes_through_both_recipes(bench, tmp_path, monkeypatch):
    """The rows of a whole run; processes of their own are replaced, since what they do is tested elsewhere."""
    calls = []

    def run(verb, *words):
        calls.append((verb, *map(str, words)))
        out = Path(words[words.index("-o") + 1])
        out.write_bytes(bytes(1000))
        if verb == "compress":
            Path(words[words.index("--run-dir") + 1]).mkdir()
        return 2.0, 3.0, 500.0

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(bench, "_aside", lambda work, folder, gigabytes: int(gigabytes * 1e9))
    plot = tmp_path / "p.svg"
    options = Namespace(gigabytes=[1.0, 2.0], recipes=["lossless", "weights_only"], folder=tmp_path, plot=plot)
    rows = {item["work"]: item for item in bench.stream(options)}
    assert rows["stream/1GB/weights_only/speed"]["value"] == 500.0
    assert rows["stream/1GB/weights_only/speed"]["met"] is True
    assert rows["stream/2GB/lossless/work"]["value"] == pytest.approx(666.7)
    assert rows["stream/2GB/lossless/memory"]["met"] is True
    assert rows["stream/growth/weights_only"]["value"] == 0.5
    assert [call[0] for call in calls] == ["compress", "decompress"] * 2 + ["compress"] * 2
    assert all("fast" in call for call in calls if call[0] == "compress")
    assert list(tmp_path.iterdir()) == [plot]


def test_lossless_rows_without_peers_say_what_they_measured(bench):
    tensors = {"a.weight": torch.randn(300, 20).bfloat16(), "b": torch.zeros(7).bfloat16()}
    rows = {item["work"]: item for item in bench._compared("net", tensors, None)}
    for tier in ("fast", "small"):
        size = rows[f"lossless/net/bfloat16/{tier}/size"]
        assert (size["exact"], size["peer"], size["met"]) == (True, None, None)
        assert 0 < size["value"] < 2 * 6007
        assert rows[f"lossless/net/bfloat16/{tier}/file"]["value"] >= 0
    assert rows["lossless/net/bfloat16/fast/decode"]["peer"] is None
