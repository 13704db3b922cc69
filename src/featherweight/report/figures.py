"""The figures of the report, each a drawing made from a story's values."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from featherweight.report import svg
from featherweight.report.scale import Bytes, Linear, Scores
from featherweight.report.story import Curve, Histogram, Layer, Step, Story
from featherweight.report.text import MINUS, bytes_text, count_text, percent, ratio, round_bytes


@dataclass(frozen=True)
class Plot:
    """The room of a plot, in pixels, and the side on which its scores are labelled."""

    height: float
    top: float
    bottom: float
    labels_right: bool = False

    def down(self, place: float) -> float:
        """The y pixel of a place 0..1 between the margins."""
        return self.top + (1 - place) * (self.height - self.top - self.bottom)


HINTED = 64  # centroids of a tensor that are drawn one by one, with a hint each
SHADES = 5  # the style sheet has classes shade0 (dense) to shade4 (coded)


def shade(index: int, count: int) -> str:
    """The class of stage `index` of `count`: from the palest to the strongest."""
    return f"shade{SHADES - 1 if count < 2 else round(index * (SHADES - 1) / (count - 1))}"


def stages(story: Story) -> Markup:
    """Bars: the bytes of all weights at each stage, with the ratio to dense."""
    totals, row = story.stage_bytes, 46
    most = max(totals, default=0) or 1
    drawing = svg.figure(row * len(totals), "Bytes of all weights at each stage")
    for index, (label, size) in enumerate(zip(story.stages, totals, strict=True)):
        top = index * row
        svg.text(drawing, (0, top + 15), label, classes="strong")
        amount = bytes_text(size) if index == 0 else f"{bytes_text(size)}  ·  {ratio(totals[0], size)} smaller"
        svg.text(drawing, (100, top + 15), amount, classes="end number")
        svg.box(drawing, (0, top + 22), (100, 12), classes="track", round_=2)
        bar = svg.box(drawing, (0, top + 22), (100 * size / most, 12), classes=shade(index, len(totals)), round_=2)
        svg.hint(bar, f"{label}: {count_text(size)} bytes")
    return svg.markup(drawing)


def layer_row(layer: Layer, labels: Sequence[str], scale: Bytes) -> Markup:
    """One layer on the common logarithmic axis of bytes: a dot for each stage, first and last with their size."""
    drawing, middle = svg.figure(30, f"{layer.name}: bytes at each stage", classes="plot row"), 15
    for tick in scale.ticks():
        svg.line(drawing, (100 * scale.at(tick), 0), (100 * scale.at(tick), 30), classes="grid")
    places = [100 * scale.at(size) for size in layer.stages]
    svg.line(drawing, (min(places), middle), (max(places), middle), classes="link")
    for index, (label, size, place) in enumerate(zip(labels, layer.stages, places, strict=True)):
        mark = svg.dot(drawing, (place, middle), 5, classes=f"{shade(index, len(places))} ringed")
        svg.hint(mark, f"{layer.name}, {label}: {count_text(size)} bytes")
    right, left = (0, -1) if places[0] >= places[-1] else (-1, 0)
    svg.text(drawing, (places[right], middle + 4), bytes_text(layer.stages[right]), classes="number halo", dx=10)
    if places[left] != places[right]:
        svg.text(drawing, (places[left], middle + 4), bytes_text(layer.stages[left]), classes="number halo end", dx=-10)
    return svg.markup(drawing)


def layer_axis(scale: Bytes) -> Markup:
    """The labels of the axis under the layers' rows."""
    drawing = svg.figure(18, "Bytes, logarithmic", classes="plot row")
    for tick in scale.ticks():
        svg.text(drawing, (100 * scale.at(tick), 13), round_bytes(tick), classes="muted middle")
    return svg.markup(drawing)


def layer_scale(story: Story) -> Bytes:
    """The axis that all layers share, with room for the labels beside the outermost dots."""
    scale = Bytes.around(size for layer in story.layers for size in layer.stages)
    room = (scale.high / scale.low) ** 0.16
    return Bytes(scale.low / room, scale.high * room)


def scores(story: Story) -> Markup:
    """The score before the first step and after each one, and under each step the least that its guard allows."""
    values = _score_path(story)
    style = Scores.of(story.scores)
    floors = [_floor(step) for step in story.steps]
    scale = Linear.around((*values, *(floor for floor in floors if floor is not None)), least=0.004)
    plot = Plot(220, top=34, bottom=24)
    drawing = svg.figure(plot.height, "Score after each step")
    _score_grid(drawing, style, scale, plot)
    width = 100 / len(values)
    places = [((index + 0.5) * width, plot.down(scale.at(value))) for index, value in enumerate(values)]
    for index, floor in enumerate(floors):
        if floor is not None:
            left, level = (index + 1) * width, plot.down(scale.at(floor))
            mark = svg.line(drawing, (left + width * 0.2, level), (left + width * 0.8, level), classes="limit")
            svg.hint(mark, f"the guard allows {style.text(floor)}")
            svg.text(drawing, (left + width / 2, level + 15), f"limit {style.text(floor)}", classes="warm middle halo")
    svg.curve(drawing, places, plot.height, classes="path")
    for place, value in zip(places, values, strict=True):
        svg.hint(svg.dot(drawing, place, 5, classes=f"shade{SHADES - 1} ringed"), style.text(value, 3))
        svg.text(drawing, (place[0], place[1] - 12), style.text(value), classes="strong middle number halo")
    return svg.markup(drawing)


def _score_path(story: Story) -> list[float]:
    """The score before, then after each step; a step without one repeats the last."""
    first = next((step.score_before for step in story.steps if step.score_before is not None), story.score_before)
    path = [first if first is not None else 0.0]
    for step in story.steps:
        path.append(step.score_after if step.score_after is not None else path[-1])
    return path


def _floor(step: Step) -> float | None:
    if step.guard is None or step.guard.max_drop is None or step.score_before is None:
        return None
    return step.score_before - step.guard.max_drop


def _score_grid(drawing: svg.Element, style: Scores, scale: Linear, plot: Plot) -> None:
    for place, label in style.ticks(scale):
        if 0 <= place <= 1:
            level = plot.down(place)
            svg.line(drawing, (0, level), (100, level), classes="grid")
            anchor = "end" if plot.labels_right else ""
            svg.text(drawing, (100 if anchor else 0, level - 4), label, classes=f"muted halo {anchor}")


def sensitivity(curve: Curve, scale: Linear, style: Scores) -> Markup:
    """One layer: the score (common axis) over the share of its weights that is kept, and the share chosen."""
    plot = Plot(176, top=26, bottom=32, labels_right=True)
    drawing = svg.figure(plot.height, f"{curve.name}: score by share of weights kept")
    _score_grid(drawing, style, scale, plot)
    floor = plot.height - plot.bottom + 6
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "middle" if 0 < share < 1 else "end" if share else ""
        svg.line(drawing, (100 * share, floor), (100 * share, floor + 4), classes="tick")
        svg.text(drawing, (100 * share, floor + 17), f"{100 * share:.0f} %", classes=f"muted {anchor}")
    if curve.chosen is not None:
        place = 100 * min(max(curve.chosen, 0.0), 1.0)
        svg.line(drawing, (place, 8), (place, floor), classes="limit")
        side, move = ("end", -6) if place > 55 else ("", 6)
        svg.text(drawing, (place, 16), f"kept {percent(curve.chosen)}", classes=f"warm halo {side}", dx=move)
    places = [(100 * density, plot.down(scale.at(score))) for density, score in curve.points]
    svg.curve(drawing, places, plot.height, classes="path")
    for place_, (density, score) in zip(places, curve.points, strict=True):
        mark = svg.dot(drawing, place_, 3, classes=f"shade{SHADES - 1}")
        svg.hint(mark, f"{curve.name}: {percent(density)} kept, score {style.text(score)}")
    return svg.markup(drawing)


def histogram(shown: Histogram) -> Markup:
    """Bars of the weights that are not zero; under them a tick for each value that they share."""
    height, floor = 150.0, 112.0
    drawing = svg.figure(height, f"{shown.name}: distribution of the weights")
    most, scale = max(shown.counts, default=0) or 1, Linear(shown.low, shown.high)
    bin_width = 100 / max(len(shown.counts), 1)
    each = (shown.high - shown.low) / max(len(shown.counts), 1)
    for index, count in enumerate(shown.counts):
        if count:
            tall = (floor - 18) * count / most
            bar = svg.box(drawing, (index * bin_width, floor - tall), (bin_width * 0.94, tall), classes="shade2")
            low = shown.low + index * each
            svg.hint(bar, f"{count_text(count)} weights from {low:.4g} to {low + each:.4g}")
    svg.line(drawing, (0, floor), (100, floor), classes="axis")
    _centroids(drawing, shown, scale, floor + 3)
    svg.text(drawing, (0, 11), f"most: {count_text(most)} a bin", classes="muted halo")
    for value, anchor in ((shown.low, ""), (0.0, "middle"), (shown.high, "end")):
        place = 100 * scale.at(value)
        if anchor != "middle" or 18 < place < 82:
            svg.text(drawing, (place, height - 8), f"{value:.3g}".replace("-", MINUS), classes=f"muted {anchor}")
    return svg.markup(drawing)


def _centroids(drawing: svg.Element, shown: Histogram, scale: Linear, top: float) -> None:
    """A tick for each shared value; with very many the pointer could not tell them apart, so they become one shape."""
    if len(shown.centroids) > HINTED:
        places = [100 * scale.at(value) for value, _ in shown.centroids]
        svg.strokes(drawing, places, (top, top + 10), classes="centroid thin")
        return
    for value, members in shown.centroids:
        place = 100 * scale.at(value)
        mark = svg.line(drawing, (place, top), (place, top + 10), classes="centroid")
        svg.hint(mark, f"centroid {value:.5g}, shared by {count_text(members)} weights")


def share_bar(share: float) -> Markup:
    """A small bar for a cell of a table: `share` 0..1 of the whole."""
    drawing = svg.figure(8, f"{percent(share)} of the bytes", classes="plot share")
    svg.box(drawing, (0, 0), (100, 8), classes="track", round_=2)
    svg.box(drawing, (0, 0), (100 * share, 8), classes=f"shade{SHADES - 1}", round_=2)
    return svg.markup(drawing)
