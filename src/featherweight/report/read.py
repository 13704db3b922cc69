"""From a run directory, or a result that is still in memory, to the story that the page tells."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featherweight.core import config
from featherweight.encodings.attach import encodings_of
from featherweight.encodings.dense import Dense
from featherweight.errors import FeatherweightError, StorageError
from featherweight.recipes.ledger import Entry, Ledger
from featherweight.recipes.recipe import Recipe, technique
from featherweight.recipes.result import Result
from featherweight.report import stages
from featherweight.report.story import Attempt, Curve, Guard, Step, Story

RESULT, LEDGER, RUN, STEPS = "result.fwt", "ledger.json", "run.json", "steps"


def from_run(directory: str | Path) -> Story:
    """The story of a run, also of one that is not finished: then the page says so.

    Raises: StorageError when the directory holds no run or a file of it cannot be read, FormatError for a damaged one.
    """
    folder = Path(directory)
    about, entries = _json(folder / RUN, {}), _json(folder / LEDGER, [])
    if not isinstance(about, dict) or not isinstance(entries, list) or not (about or entries):
        raise StorageError("holds no run", where=str(folder), fix="Name the directory that `compress` printed.")
    try:
        ledger = Ledger.from_list(entries)
    except (TypeError, KeyError, ValueError) as error:
        raise StorageError("the ledger is damaged", where=str(folder / LEDGER), value=str(error)) from error
    files = {entry.index: folder / STEPS / f"{entry.index:02d}.fwt" for entry in ledger}
    kept = {index: path for index, path in files.items() if path.is_file()}
    final = folder / RESULT if (folder / RESULT).is_file() else None
    story = _told(ledger, about, stages.from_files(tuple(ledger), kept, final))
    return story if final else replace(story, notes=("This run is not finished: no file was written yet.",))


def from_result(result: Result) -> Story:
    """The story of a result in memory; what the weights were before each step is known to a run directory only."""
    plain = {name: Dense(tensor.detach(), tensor.dtype) for name, tensor in result.model.named_parameters()}
    weights = stages.from_encodings({**plain, **encodings_of(result.model)})
    about = {"task": result.provenance.get("task", "model")} if isinstance(result.provenance, Mapping) else {}
    return _told(result.ledger, about | {"recipe": result.recipe.to_dict()}, weights)


def _json(path: Path, missing: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return missing
    except (OSError, ValueError) as error:
        raise StorageError("cannot be read", where=str(path), value=str(error)) from error


def _told(ledger: Sequence[Entry] | Ledger, about: Mapping[str, Any], weights: stages.Weights) -> Story:
    entries = list(ledger)
    recipe = about.get("recipe")
    provenance = _extra(weights, "provenance")
    return Story(
        title=str(about.get("task") or about.get("name") or "model"),
        recipe=str(recipe.get("name", "")) if isinstance(recipe, Mapping) else str(recipe or ""),
        steps=[_step(entry) for entry in entries],
        stages=weights.stages,
        layers=weights.layers,
        histograms=weights.histograms,
        curves=_curves(entries),
        dense_bytes=entries[0].before.get("dense_bytes") if entries else None,
        file_bytes=weights.file_bytes,
        score_before=entries[0].score_before if entries else None,
        score_after=entries[-1].score_after if entries else None,
        provenance=provenance,
        recipe_text=_yaml(recipe),
    )


def _yaml(recipe: Any) -> str:
    if not isinstance(recipe, Mapping):
        return ""
    try:
        return Recipe.from_dict(recipe).to_yaml()
    except FeatherweightError:  # of another release: shown as it was kept
        return json.dumps(recipe, indent=2, ensure_ascii=False)


def _extra(weights: stages.Weights, name: str) -> dict[str, Any]:
    try:
        found = json.loads(weights.extras.get(name, b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _step(entry: Entry) -> Step:
    guard = None
    if entry.guard is not None:
        attempts = tuple(Attempt(attempt.strength, attempt.score) for attempt in entry.guard.attempts)
        guard = Guard(entry.guard.max_drop, entry.guard.verdict, attempts)
    return Step(
        index=entry.index,
        technique=entry.technique,
        settings=_unlike_defaults(entry),
        seconds=entry.seconds,
        score_before=entry.score_before,
        score_after=entry.score_after,
        bytes_before=entry.before.get("encoded_bytes"),
        bytes_after=entry.after.get("encoded_bytes"),
        guard=guard,
    )


def _unlike_defaults(entry: Entry) -> Mapping[str, Any]:
    """The settings that somebody chose; all of them when the technique is not there any more or was another."""
    try:
        kind = technique(entry.technique)
        return config.to_dict(config.from_dict(kind, entry.settings), defaults=False)
    except FeatherweightError:
        return entry.settings


def _curves(entries: Sequence[Entry]) -> list[Curve]:
    """The sensitivity curves that steps recorded, with the densities that the same step chose."""
    found = []
    for entry in entries:
        chosen = entry.details.get("density", {})
        for name, points in entry.details.get("sensitivity", {}).items():
            pairs = sorted((float(density), float(score)) for density, score in points if score is not None)
            found.append(Curve(name, tuple(pairs), chosen.get(name)))
    return found
