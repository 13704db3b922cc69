"""One self-contained HTML page: no script, no network, and nothing that a name in it could inject.

The page states a Content-Security-Policy that allows exactly one thing, its own style sheet, by hash.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from featherweight.report import figures, tables
from featherweight.report.scale import Linear, Scores
from featherweight.report.story import Story
from featherweight.report.text import bytes_text, percent, ratio, seconds_text, visible

T = TypeVar("T")
_TEMPLATES = Path(__file__).parent / "templates"
_FIGURES_OF_A_KIND = 24  # more small pictures than this help nobody; the largest tensors are shown, the page says so
_ROWS = 40  # of a table that is open from the start


def render(story: Story) -> str:
    """The page as text (UTF-8, one document, a few tens of KiB)."""
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            story=story,
            style=Markup(style),  # the house's own file
            style_hash=f"sha256-{digest}",
            recipe_lines=[visible(line) for line in story.recipe_text.splitlines()],
            summary=_summary(story),
            headline=_headline(story),
            layer_scale=figures.layer_scale(story),
            curve_scale=_curve_scale(story),
            scores=Scores.of(story.scores),
            layers=_largest(story.layers, lambda layer: layer.stages[0]),
            histograms=_largest(story.histograms, lambda item: item.zeros + sum(item.counts)),
            curves=story.curves[:_FIGURES_OF_A_KIND],
            rows=_ROWS,
            facts=list(tables.facts(story.provenance)),
        )
    )


def _largest(items: Sequence[T], size: Callable[[T], float]) -> list[T]:
    """As many of the items as a page should show, the largest, in the order they were in."""
    chosen = sorted(range(len(items)), key=lambda index: -size(items[index]))[:_FIGURES_OF_A_KIND]
    return [items[index] for index in sorted(chosen)]


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(visible=visible, bytes=bytes_text, percent=percent)
    made.globals.update(figures=figures, tables=tables)
    return made


def _curve_scale(story: Story) -> Linear:
    return Linear.around((score for curve in story.curves for _, score in curve.points), least=0.01, pad=0.04)


def _headline(story: Story) -> list[tuple[str, str, str]]:
    """The numbers that matter most: value, what it is, and a line of detail."""
    style = Scores.of(story.scores)
    after = story.file_bytes if story.file_bytes is not None else (story.stage_bytes or (None,))[-1]
    found = [
        (ratio(story.dense_bytes, after), "smaller", f"{bytes_text(story.dense_bytes)} of dense weights"),
        (bytes_text(after), "the whole file" if story.file_bytes is not None else "all weights", ""),
    ]
    if story.score_after is not None:
        change = f"{style.change(story.score_before, story.score_after)} {style.unit}"
        found.append((style.text(story.score_after), "score on validation data", change))
    if story.density is not None:
        found.append((percent(story.density), "of the weights are not zero", ""))
    return found


def _summary(story: Story) -> str:
    """What happened, in a sentence or two."""
    style, count = Scores.of(story.scores), len(story.steps)
    took = "" if story.seconds is None else f" in {seconds_text(story.seconds)}"
    said = f"{count} step{'' if count == 1 else 's'}{took}"
    after = story.file_bytes if story.file_bytes is not None else (story.stage_bytes or (None,))[-1]
    if story.dense_bytes and after:
        said += f" took {bytes_text(story.dense_bytes)} of weights to {bytes_text(after)}"
    if story.score_before is None or story.score_after is None:
        return f"{said}."
    change = style.change(story.score_before, story.score_after)
    return (
        f"{said}. The score on validation data went from {style.text(story.score_before)} "
        f"to {style.text(story.score_after)} ({change} {style.unit})."
    )
