import pytest

from featherweight.report.story import Layer, Story


def test_a_layer_knows_its_size_density_and_bits():
    layer = Layer("fc", (10, 50), "sparse(dense)", 40, (2000, 180, 100))
    assert layer.weights == 500
    assert layer.density == pytest.approx(0.08)
    assert layer.bits == pytest.approx(1.6)


def test_an_empty_layer_has_no_density():
    layer = Layer("none", (0, 3), "dense", 0, (0, 0))
    assert (layer.weights, layer.density, layer.bits) == (0, None, None)


def test_totals_are_sums_over_layers(story):
    assert story.stage_bytes[0] == 4 * 431_080
    assert story.density == pytest.approx(sum(layer.nonzeros for layer in story.layers) / 431_080)
    assert story.seconds == pytest.approx(190.3)
    assert {0.9921, 0.9908, 0.9911} <= set(story.scores)


def test_a_story_of_nothing():
    empty = Story("model", "recipe")
    assert (empty.stage_bytes, empty.density, empty.seconds, empty.scores) == ((), None, None, ())
