import torch
from tests.techniques.pruning.conftest import Chance
from torch import nn

from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.filter.geometric_median import GeometricMedian
from featherweight.techniques.pruning.filter.norm import Norm


def scored(technique, model, context, name):
    known = anatomy(model, context.example)
    groups = technique.prunable(model, known)
    place = next(number for number, group in enumerate(groups) if group.name == name)
    return technique.scores(model, known, groups, context)[place]


def test_the_twins_go_first_however_large_they_are(images):
    model = images.fresh("plain")
    with torch.no_grad():
        model[0].weight[3] = model[0].weight[4] = model[0].weight[5] = 10 * model[0].weight[6]
        model[0].weight[7] *= 0.1
    distances = scored(GeometricMedian(), model, images.context(), "0")
    rows = model[0].weight.detach().flatten(1).double()
    expected = torch.stack([(rows - row).norm(dim=1).sum() for row in rows])
    assert torch.allclose(distances, expected, rtol=1e-9)
    assert int(distances.argmin()) == 7  # the small one is in the middle of all
    assert int(scored(Norm(), model, images.context(), "0").argmin()) == 7


def test_it_does_not_follow_the_norm(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[:, 0] = torch.tensor([5.0, 5.1, 5.2, 0.1])  # three large ones alike, a small one apart
    assert int(scored(Norm(), model, images.context(), "1").argmin()) == 3
    distances = scored(GeometricMedian(), model, images.context(), "1")
    assert torch.allclose(distances, torch.tensor([5.2, 5.2, 5.4, 15.0]).double(), rtol=1e-6)


def test_coupled_layers_count_together(images):
    model = images.fresh("residual")
    distances = scored(GeometricMedian(), model, images.context(), "conv1")
    layers = (model.conv1.weight, model.a2.weight, model.b2.weight[8:24])  # the last between padded zeros
    rows = torch.cat([weight.detach().flatten(1) for weight in layers], dim=1).double()
    expected = torch.stack([(rows - row).norm(dim=1).sum() for row in rows])
    assert torch.allclose(distances, expected, rtol=1e-9)


def test_it_beats_chance(images):
    assert images.mean(GeometricMedian(ratio=0.5)) > images.mean(Chance(ratio=0.5)) + 0.2
