import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.training.capture import recalibrate


def test_statistics_become_the_mean_over_the_batches() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).eval()
    norm = model[1]
    norm.running_mean.fill_(7.0)
    batches = [Batch((torch.randn(50, 3) * 2 + 1,), None) for _ in range(4)]
    weight = norm.weight.detach().clone()
    assert recalibrate(model, batches) == 1
    means = torch.stack([batch.inputs[0].mean(0) for batch in batches]).mean(0)
    variances = torch.stack([batch.inputs[0].var(0) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)
    assert torch.allclose(norm.running_var, variances, atol=1e-5)
    assert torch.equal(norm.weight, weight)


def test_modes_and_momentum_are_put_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=0.25), nn.Dropout(0.5))
    model[0].eval()
    recalibrate(model, [Batch((torch.randn(8, 3),), None)])
    assert model[0].momentum == 0.25
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_without_norms_nothing_is_run() -> None:
    class Untouchable(nn.Linear):
        def forward(self, *inputs):
            raise AssertionError("was run")

    assert recalibrate(nn.Sequential(Untouchable(2, 2)), [Batch((torch.randn(8, 2),), None)]) == 0
