from dataclasses import replace
from xml.etree import ElementTree

import pytest

from featherweight.report import figures
from featherweight.report.scale import Linear, Scores
from featherweight.report.story import Curve, Histogram, Layer, Story
from featherweight.report.text import TIMES


def drawn(markup):
    return ElementTree.fromstring(str(markup))


def words(drawing):
    return [text.text for text in drawing.iter("text")]


def test_stage_bars_are_in_proportion_and_labelled(story):
    drawing = drawn(figures.stages(story))
    bars = [box for box in drawing.iter("rect") if box.get("class") != "track"]
    widths = [float(bar.get("width")[:-1]) for bar in bars]
    totals = story.stage_bytes
    assert widths == pytest.approx([100 * total / totals[0] for total in totals], abs=0.02)
    assert [bar.get("class") for bar in bars] == ["shade0", "shade1", "shade3", "shade4"]
    assert any(f"{totals[0] / totals[-1]:.1f}{TIMES} smaller" in word for word in words(drawing))


def test_shades_run_from_palest_to_strongest():
    assert [figures.shade(index, 5) for index in range(5)] == [f"shade{index}" for index in range(5)]
    assert figures.shade(0, 1) == "shade4"
    assert figures.shade(0, 9) == "shade0"
    assert figures.shade(8, 9) == "shade4"


def test_a_layer_row_has_a_dot_a_stage_in_the_order_of_size(story):
    layer, scale = story.layers[4], figures.layer_scale(story)
    drawing = drawn(figures.layer_row(layer, story.stages, scale))
    places = [float(dot.get("cx")[:-1]) for dot in drawing.iter("circle")]
    assert len(places) == len(story.stages)
    assert places == sorted(places, reverse=True)
    assert words(drawing) == ["1.60 MB", "28.1 KB"]
    assert all(0 < place < 100 for place in places)


def test_a_layer_that_did_not_change_is_labelled_once(story):
    layer = Layer("bias", (10,), "dense", 10, (40, 40, 40, 40))
    assert words(drawn(figures.layer_row(layer, story.stages, figures.layer_scale(story)))) == ["40 B"]


def test_a_layer_that_grew_is_labelled_on_the_outer_sides(story):
    layer = Layer("grown", (10,), "dense", 10, (40, 40, 40, 55))
    assert words(drawn(figures.layer_row(layer, story.stages, figures.layer_scale(story)))) == ["55 B", "40 B"]


def test_the_score_figure_marks_each_step_and_each_limit(story):
    drawing = drawn(figures.scores(story))
    assert len(list(drawing.iter("circle"))) == 1 + len(story.steps)
    assert {"99.21 %", "99.08 %", "99.11 %", "limit 98.91 %", "limit 98.78 %"} <= set(words(drawing))


def test_a_higher_score_is_drawn_higher(story):
    heights = [float(dot.get("cy")) for dot in drawn(figures.scores(story)).iter("circle")]
    assert heights[0] < heights[2] < heights[1]


def test_steps_without_scores_do_not_break_the_figure(story):
    steps = [replace(step, score_before=None, score_after=None, guard=None) for step in story.steps]
    blank = replace(story, steps=steps, score_before=None, score_after=None, curves=[])
    assert len(list(drawn(figures.scores(blank)).iter("circle"))) == 3


def test_a_sensitivity_curve_shows_its_points_and_the_choice():
    curve = Curve("fc1", ((0.1, 0.5), (0.5, 0.9), (1.0, 0.99)), chosen=0.3)
    drawing = drawn(figures.sensitivity(curve, Linear(0.4, 1.0), Scores(True)))
    assert [dot.get("cx") for dot in drawing.iter("circle")] == ["10%", "50%", "100%"]
    assert "kept 30.0 %" in words(drawing)
    without = drawn(figures.sensitivity(replace(curve, chosen=None), Linear(0.4, 1.0), Scores(True)))
    assert not any("kept" in word for word in words(without))


def test_a_histogram_has_a_bar_a_filled_bin_and_a_tick_a_centroid():
    shown = Histogram("fc1", -0.5, 0.5, (1, 0, 4, 2), zeros=9, centroids=((-0.25, 3), (0.25, 4)))
    drawing = drawn(figures.histogram(shown))
    heights = [float(bar.get("height")) for bar in drawing.iter("rect")]
    assert heights == pytest.approx([max(heights) / 4, max(heights), max(heights) / 2])
    ticks = [line for line in drawing.iter("line") if line.get("class") == "centroid"]
    assert [tick.get("x1") for tick in ticks] == ["25%", "75%"]
    assert next(tick.find("title").text for tick in ticks) == "centroid -0.25, shared by 3 weights"


def test_very_many_centroids_become_one_shape():
    centroids = tuple((index / 200 - 0.5, 1) for index in range(200))
    drawing = drawn(figures.histogram(Histogram("fc1", -0.5, 0.5, (1, 2), 0, centroids)))
    (path,) = drawing.iter("path")
    assert path.get("d").count("M") == 200
    assert not [line for line in drawing.iter("line") if "centroid" in line.get("class")]


def test_an_empty_story_has_figures_all_the_same():
    empty = Story("nothing", "none", stages=("dense",))
    assert drawn(figures.stages(empty)).tag == "svg"
    assert drawn(figures.layer_axis(figures.layer_scale(empty))).tag == "svg"
    assert drawn(figures.histogram(Histogram("x", -1.0, 1.0, (), 0))).tag == "svg"


def test_a_share_bar_is_as_wide_as_its_share():
    assert drawn(figures.share_bar(0.25)).findall("rect")[1].get("width") == "25%"
