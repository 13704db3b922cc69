"""Every metric gives a number with a unit, and its parts add up."""

import pytest
import torch
from torch import nn

from featherweight.core.catalog import load, names
from featherweight.profiling.base import SOCKET, Metric

SKIP = ("profile",)
ADDITIVE = ("params", "nonzeros", "macs", "size")


@pytest.fixture(scope="module")
def network():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", names(SOCKET, SKIP))
def test_a_metric_measures_any_network(name, network):
    metric = load(SOCKET, name, Metric, SKIP)()
    found = metric.measure(network, (torch.zeros(3, 6),))
    assert found.value > 0
    assert found.unit == metric.unit
    if name in ADDITIVE:
        assert found.value == sum(found.parts.values())
        assert isinstance(found.value, int)


def test_the_additive_metrics_are_there():
    assert set(ADDITIVE) <= set(names(SOCKET, SKIP))
