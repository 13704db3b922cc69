import pytest
import torch

from featherweight.techniques.pruning._rounds import Rounds
from featherweight.techniques.pruning.filter.norm import Norm


def constant(value):
    return lambda model, known, groups: [torch.full((len(group),), value) for group in groups]


def ascending(model, known, groups):
    return [torch.arange(1.0, len(group) + 1) for group in groups]


def test_rounds_go_on_from_what_is_left(images):
    model, context = images.fresh("plain"), images.context()
    left = Rounds(Norm(ratio=0.5, repair="none"), model, context)
    left.measure(ascending)
    assert left.plan() == 52
    left.cut(0.5)
    assert [left.model[0].out_channels, left.model[3].out_channels, left.model[8].out_features] == [18, 24, 36]
    left.measure(ascending)
    left.cut(1.0)
    assert torch.equal(left.model[0].weight, model[0].weight[12:])
    left.record()
    assert context.details["removed"] == {"0": [24, 12], "3": [32, 16], "8": [48, 24]}
    assert context.details["asked"] == 0.5
    assert context.details["reached"] == 0.5


def test_scores_are_averaged_over_rounds_in_the_places_of_the_beginning(images):
    left = Rounds(Norm(ratio=0.5, repair="none"), images.fresh("plain"), images.context(), momentum=0.75)
    left.measure(constant(4.0))
    left.cut(0.5)
    left.measure(constant(8.0))
    kept = left.scores[0][6:]
    assert torch.equal(kept, torch.full((18,), 0.75 * 4 + 0.25 * 8).double())
    assert torch.equal(left.scores[0][:6], torch.full((6,), 0.75 * 4.0).double())  # gone: nothing is measured there


def test_a_layer_of_which_one_channel_is_left_stays(images):
    """A size of one is no dimension of channels to who looks at the network anew."""

    def first_goes(model, known, groups):
        return [
            torch.full((len(group),), 1e-3 if group.name == "0" else 1.0) * torch.arange(1.0, len(group) + 1)
            for group in groups
        ]

    class AsTheyAre(Norm):
        relative = False

    settings = AsTheyAre(ratio=0.5, scope="global", repair="none", floor=0.0)
    left = Rounds(settings, images.fresh("plain"), images.context())
    for part in (0.5, 0.75, 1.0):
        left.measure(first_goes)
        left.cut(part)
    assert left.model[0].out_channels == 1
    assert left.model[3].out_channels < 32
    assert left.model(images.inputs[:2]).shape == (2, 10)


@pytest.mark.parametrize("name", ["residual", "concat", "attention", "lstm"])
def test_three_rounds_reach_what_one_does(images, name):
    settings = Norm(ratio=0.45, of="macs", repair="none")
    context = images.context()
    left = Rounds(settings, images.fresh(name), context)
    for part in (1 / 3, 2 / 3, 1.0):
        left.measure(lambda model, known, groups: settings.scores(model, known, groups, context))
        left.cut(part)
    left.record()
    assert context.details["reached"] == pytest.approx(0.45, abs=0.03)
    assert left.model(images.inputs[:2]).shape == (2, 10)
