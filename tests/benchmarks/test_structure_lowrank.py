"""The parts of structure_lowrank.py that need no data and no trained network."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def lowrank(monkeypatch):
    """The module; it does not stay imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield import_module("structure_lowrank")
    sys.modules.pop("structure_lowrank", None)


def test_counted_gains_of_an_lstm_are_the_formulas(lowrank):
    rows = list(lowrank.lstm_svd())
    assert [row["work"] for row in rows] == [
        f"lstm/svd/{form}/{kind}" for form in ("apart", "shared") for kind in ("storage", "computation")
    ]
    assert all(row["met"] for row in rows)
    assert {(row["before"], row["after"]) for row in rows} >= {(131_072, 40_960), (131_072, 24_576)}


def test_all_calls_are_taken_in_turns_on_one_thread(lowrank):
    order, threads = [], torch.get_num_threads()
    calls = [lambda name=name: order.append((name, torch.get_num_threads())) for name in "ab"]
    found = lowrank.in_turns(calls, 3)
    assert order == [("a", 1), ("a", 1), ("b", 1), ("b", 1)] * 5
    assert len(found) == 2 and min(found) >= 0
    assert torch.get_num_threads() == threads


def test_the_faster_memory_format_of_each_network_counts(lowrank):
    torch.manual_seed(0)
    dense, thin = nn.Sequential(nn.Conv2d(3, 8, 3)).eval(), nn.Sequential(nn.Conv2d(3, 2, 3)).eval()
    found = lowrank.speed(dense, thin, torch.zeros(1, 3, 8, 8), 1)
    assert found["times"] == pytest.approx(found["dense"] / found["thin"], rel=0.2)
    assert dense[0].weight.is_contiguous()  # the networks themselves are left alone
