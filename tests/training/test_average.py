import pytest
import torch
from torch import nn

from featherweight.training.average import Average


def test_average_follows_with_warm_up_and_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = Average(model, decay=0.5)
    expected = 0.0
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.follow(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)
    average.release()
    assert model.weight.item() == pytest.approx(expected, rel=1e-5)


def test_running_statistics_are_averaged_and_counters_are_not() -> None:
    average = Average(nn.BatchNorm1d(2), decay=0.9)
    assert set(average.tensors) == {"weight", "bias", "running_mean", "running_var"}


def test_a_stored_average_is_taken_up() -> None:
    model = nn.Linear(2, 2)
    average = Average(model, decay=0.9)
    stored = {name: torch.full_like(tensor, 3.0) for name, tensor in average.tensors.items()}
    average.restore(stored)
    average.release()
    assert torch.equal(model.weight, torch.full((2, 2), 3.0))
