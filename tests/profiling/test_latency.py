"""Latency: what is stated about a measurement, and that all is left as it was. No time is tested."""

import pytest
import torch
from torch import nn

from featherweight.errors import UsageError
from featherweight.profiling.latency import Latency


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls, self.modes, self.threads = 0, set(), set()
        self.inner = nn.Dropout(0.5)

    def forward(self, inputs):
        self.calls += 1
        self.modes.add((self.training, self.inner.training, torch.is_inference_mode_enabled()))
        self.threads.add(torch.get_num_threads())
        return inputs


def test_what_was_measured_is_said():
    found = Latency(runs=4, warmups=1, threads=1).measure(Counting(), (torch.zeros(7, 2),))
    assert set(found.parts) == {"latency_ms_median", "latency_ms_iqr", "latency_batch_size", "latency_threads"}
    assert (found.parts["latency_batch_size"], found.parts["latency_threads"]) == (7, 1)
    assert found.value == found.parts["latency_ms_median"] > 0
    assert found.parts["latency_ms_iqr"] >= 0
    assert found.notes == ("latency: median of 4 passes after 1, batch 7, 1 threads",)


def test_passes_run_in_evaluation_mode_and_the_modes_come_back():
    model = Counting().train()
    model.inner.eval()
    before = torch.get_num_threads()
    Latency(runs=3, warmups=2, threads=2).measure(model, (torch.zeros(1),))
    assert model.calls == 5
    assert model.modes == {(False, False, True)}
    assert model.threads == {2}
    assert (model.training, model.inner.training, torch.get_num_threads()) == (True, False, before)


@pytest.mark.parametrize("settings", [{"runs": 1}, {"warmups": -1}, {"threads": 0}])
def test_nonsense_is_refused(settings):
    with pytest.raises(UsageError, match="latency"):
        Latency(**settings)
