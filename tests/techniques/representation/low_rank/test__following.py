import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.techniques.representation.low_rank._following import behind

IMAGES = torch.randn(2, 3, 6, 6)


class Net(nn.Module):
    """Layers before a ReLU of each kind, and layers that are not."""

    def __init__(self):
        super().__init__()
        self.plain, self.normed, self.added = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.norm = nn.BatchNorm2d(3)
        self.twice, self.pooled, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, images):
        images = torch.relu(self.plain(images))
        images = F.relu(self.norm(self.normed(images)), inplace=True)
        images = F.relu(images + self.added(images))
        answers = self.twice(images)
        images = F.relu(answers) + answers
        images = F.relu(F.max_pool2d(self.pooled(images), 2))
        return self.last(images)


def test_what_meets_a_relu_alone_is_known(lender):
    model = Net().eval()
    paths = ["plain", "normed", "added", "twice", "pooled", "last"]
    found = behind(model, lender(model, IMAGES), paths)
    assert [found[path].relu for path in paths] == [True, True, False, False, False, False]


def test_scale_and_shift_are_those_of_the_norm(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=0.1), nn.ReLU()).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4))
        model[1].running_var.uniform_(0.5, 2)
        model[1].running_mean.normal_()
    found = behind(model, lender(model, IMAGES), ["0"])["0"]
    seen = model[0](IMAGES).double() * found.scale[:, None, None] + found.shift[:, None, None]
    assert found.relu and torch.allclose(seen, model[:2](IMAGES).double(), atol=1e-5)


@pytest.mark.parametrize("training_statistics", [True, False])
def test_norms_without_statistics_are_not_seen_through(lender, training_statistics):
    norm = nn.BatchNorm2d(4, track_running_stats=not training_statistics)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.ReLU()).eval()
    found = behind(model, lender(model, IMAGES), ["0"])["0"]
    assert found.relu is not training_statistics


def test_a_model_that_cannot_be_recorded_has_no_relu_that_one_knows_of(lender):
    class Depends(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, values):
            return self.layer(values).relu() if float(values.sum()) > 0 else values

    model = Depends().eval()
    found = behind(model, lender(model, IMAGES), ["layer"])["layer"]
    assert not found.relu and bool((found.scale == 1).all())
