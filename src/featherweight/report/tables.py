"""The tables of the report: rows of finished text, made from a story's values."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from featherweight.report import figures
from featherweight.report.scale import Scores
from featherweight.report.story import Guard, Story
from featherweight.report.text import TIMES, bytes_text, count_text, percent, ratio, seconds_text, visible

Row = dict[str, str | Markup]

VERDICTS = {
    "kept": "kept as asked",
    "backed_off": "kept, less strong",
    "refused": "refused: the model stayed as it was",
}


def steps(story: Story) -> list[Row]:
    """One row a step: what it was, how long it took, what it did to score and bytes."""
    style = Scores.of(story.scores)
    return [
        {
            "index": str(position),
            "technique": visible(step.technique),
            "settings": visible(settings_text(step.settings)),
            "seconds": seconds_text(step.seconds),
            "before": style.text(step.score_before),
            "after": style.text(step.score_after),
            "change": style.change(step.score_before, step.score_after),
            "bytes": bytes_text(step.bytes_after),
            "ratio": ratio(step.bytes_before, step.bytes_after),
            "verdict": step.guard.verdict if step.guard and step.guard.verdict in VERDICTS else "",
        }
        for position, step in enumerate(story.steps, 1)
    ]


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings on one line: density 0.08, epochs 10."""
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items()) or "defaults"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def guards(story: Story) -> list[Row]:
    """One row for each step that a guard watched: its limit, what it tried and what it decided."""
    style = Scores.of(story.scores)
    return [
        {
            "index": str(position),
            "technique": visible(step.technique),
            "limit": _limit(step.guard, style),
            "attempts": _attempts(step.guard, style),
            "verdict": step.guard.verdict if step.guard.verdict in VERDICTS else "",
            "meaning": visible(VERDICTS.get(step.guard.verdict, step.guard.verdict)),
        }
        for position, step in enumerate(story.steps, 1)
        if step.guard is not None
    ]


def _limit(guard: Guard, style: Scores) -> str:
    if guard.max_drop is None:
        return "none"
    return f"{100 * guard.max_drop:.2f} {style.unit}" if style.share else f"{guard.max_drop:.4g}"


def _attempts(guard: Guard, style: Scores) -> str:
    tried = [
        f"{'as asked' if attempt.strength is None else f'{attempt.strength:.4g}'} → {style.text(attempt.score)}"
        for attempt in guard.attempts
    ]
    return "; ".join(tried) or "—"


def layers(story: Story) -> list[Row]:
    """One row a tensor, and the total as the last."""
    whole = story.stage_bytes[-1] if story.layers else 0
    rows: list[Row] = [
        {
            "name": visible(layer.name),
            "shape": f" {TIMES} ".join(str(size) for size in layer.shape) or "scalar",
            "encoding": visible(layer.encoding),
            "weights": count_text(layer.weights),
            "density": percent(layer.density),
            "bits": "—" if layer.bits is None else f"{layer.bits:.2f}",
            "bytes": count_text(layer.stages[-1]),
            "share": percent(layer.stages[-1] / whole) if whole else "—",
            "bar": figures.share_bar(layer.stages[-1] / whole) if whole else Markup(),
        }
        for layer in story.layers
    ]
    return [*rows, _total(story, whole)] if rows else []


def _total(story: Story, whole: int) -> Row:
    weights = sum(layer.weights for layer in story.layers)
    return {
        "name": "all tensors",
        "shape": "",
        "encoding": "",
        "weights": count_text(weights),
        "density": percent(story.density),
        "bits": f"{8 * whole / weights:.2f}" if weights else "—",
        "bytes": count_text(whole),
        "share": "",
        "bar": Markup(),
    }


def facts(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as pairs of a dotted name and a text."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from facts(value, f"{path}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield visible(path), visible(text)
