"""Parameters: the published counts."""

import pytest
from torch import nn

from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.profiling.params import Parameters


@pytest.mark.parametrize(("network", "count"), [(LeNet300100, 266_610), (LeNet5, 431_080)])
def test_the_published_counts(network, count):
    assert Parameters().measure(network()).value == count


def test_statistics_are_no_parameters_and_shared_weights_count_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    assert Parameters().measure(model).parts == {"0": 16, "1": 8}
