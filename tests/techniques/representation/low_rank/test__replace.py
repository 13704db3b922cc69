import pytest
import torch
from torch import nn

from featherweight.errors import TechniqueError, UsageError
from featherweight.graph.log import log_of
from featherweight.techniques.representation.low_rank._replace import replace


def test_modules_take_their_places_and_the_log_grows(lender):
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2))
    context = lender(model, torch.randn(2, 3))
    replace(model, {"0.0": nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 3))}, context)
    replace(model, {"1": nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 2))}, context)
    assert type(model[0][0]) is nn.Sequential and len(log_of(model).steps) == 2
    replace(model, {}, context)
    assert len(log_of(model).steps) == 2


def test_what_does_not_run_is_taken_back(lender):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    old = model[0]
    with pytest.raises(TechniqueError, match="does not run"):
        replace(model, {"0": nn.Linear(3, 5)}, lender(model, torch.randn(2, 3)))
    assert model[0] is old and not log_of(model)


def test_what_cannot_be_described_is_refused_before_anything_changes(lender):
    class Mine(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(UsageError, match="described"):
        replace(model, {"0": Mine(3, 3)}, lender(model, torch.randn(2, 3)))
    assert type(model[0]) is nn.Linear
