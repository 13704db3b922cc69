"""What a recipe gives: the model, what was done to it, and how to write it down."""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.container import pack
from featherweight.container.report import FileReport
from featherweight.graph.ir import Graph
from featherweight.graph.trace import trace
from featherweight.profiling.profile import Profile
from featherweight.recipes.ledger import Ledger, json_safe
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.tiers import coders


@dataclass(frozen=True, kw_only=True)
class Result:
    """A compressed model with its story. `graph` is None when the model could not be traced."""

    model: nn.Module
    recipe: Recipe
    ledger: Ledger
    profile: Profile
    graph: Graph | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, *, extras: bool = True) -> FileReport:
        """Writes the `.fwt` file; see `save`."""
        return save(self, path, extras=extras)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in ("step", "guard", "score", "bytes of weights"))
        rows = "".join(_row(entry) for entry in self.ledger.to_list())
        title = html.escape(self.recipe.name)
        return f"<h4>{title}</h4><table><tr>{head}</tr>{rows}</table>{self.profile._repr_html_()}"


def save(result: Result | nn.Module, path: str | Path, *, example: Any = None, extras: bool = True) -> FileReport:
    """Writes a result, or a model with its attached encodings, as a `.fwt` file.

    A result carries its graph, so the file runs by itself; a plain model is traced with `example` (one input or a
    tuple of them, batch in front) where that is given, and otherwise loads back into the user's own model only.
    `extras` keeps recipe, ledger and provenance of a result in the file; without them it is smaller. The same result
    gives the same bytes: no time or date goes in.

    Raises: StorageError, TraceError, UsageError.
    """
    if isinstance(result, Result):
        more = extras_of(result.recipe, result.ledger, result.provenance) if extras else {}
        return pack.save(path, result.model, graph=result.graph, extras=more, coders=coders(result.recipe.coder))
    graph = None
    if example is not None:
        graph = trace(result, tuple(example) if isinstance(example, tuple | list) else (example,))
    return pack.save(path, result, graph=graph)


def extras_of(recipe: Recipe, ledger: Ledger, provenance: Mapping[str, Any]) -> dict[str, bytes]:
    """The extra sections of a file that tell how it was made."""
    return {
        "recipe": _canonical(recipe.to_dict()),
        "ledger": _canonical(ledger.for_file()),
        "provenance": _canonical(dict(provenance)),
    }


def _canonical(value: Any) -> bytes:
    text = json.dumps(json_safe(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _row(entry: Mapping[str, Any]) -> str:
    guard = entry["guard"]["verdict"] if entry["guard"] else "none"
    scores = f"{_number(entry['score_before'])} &rarr; {_number(entry['score_after'])}"
    sizes = f"{_number(entry['before'].get('encoded_bytes'))} &rarr; {_number(entry['after'].get('encoded_bytes'))}"
    cells = (html.escape(entry["technique"]), guard, scores, sizes)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _number(value: Any) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
