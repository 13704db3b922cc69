import pytest
import torch
from tests.techniques.pruning.conftest import Chance

from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.filter.norm import Norm


def scores(technique, model, context, name):
    known = anatomy(model, context.example)
    return technique.scores(model, known, [known.group(name)], context)[0]


def test_sums_of_magnitudes_or_squares_of_the_rows(images):
    model, context = images.fresh("plain"), images.context()
    rows = model[3].weight.detach().double().flatten(1)
    assert torch.allclose(scores(Norm(), model, context, "3"), rows.abs().sum(1))
    assert torch.allclose(scores(Norm(norm="l2"), model, context, "3"), rows.square().sum(1))


def test_readers_are_counted_where_asked(images):
    model, context = images.fresh("plain"), images.context()
    rows = model[3].weight.detach().double().abs().flatten(1).sum(1)
    columns = model[8].weight.detach().double().abs().sum(0).view(32, 16).sum(1)
    assert torch.allclose(scores(Norm(readers=True), model, context, "3"), rows + columns)


def test_all_layers_of_a_stream_count(images):
    model, context = images.fresh("residual"), images.context()
    layers = (model.conv1.weight, model.a2.weight, model.b2.weight[8:24])
    expected = sum(weight.detach().double().abs().flatten(1).sum(1) for weight in layers)
    assert torch.allclose(scores(Norm(), model, context, "conv1"), expected)


def test_the_smallest_filters_go(images):
    model = images.fresh("plain")
    with torch.no_grad():
        model[0].weight[[2, 5, 7]] *= 0.01
    cut = Norm(ratio=0.125, repair="none").apply(model, images.context())
    assert torch.equal(cut[0].weight, model[0].weight[[i for i in range(24) if i not in (2, 5, 7)]])


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_it_beats_chance(images, norm):
    assert images.mean(Norm(ratio=0.5, norm=norm)) > images.mean(Chance(ratio=0.5)) + 0.2
