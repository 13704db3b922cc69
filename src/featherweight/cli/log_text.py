"""The log of surgery for people: a line a step in the words of the field, and what all of them come to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from featherweight.report.text import count_text

_ARROW = "->"
_WIDTH = 100  # columns of a terminal that a line with names of layers fits


def lines_of(log: Mapping[str, Any], ranks: Mapping[str, int]) -> Iterator[str]:
    """Lines about a log as JSON data (graph/log.py); `ranks` are dimensions by name of tensor, as far as known."""
    steps = log["steps"]
    if not steps:
        yield "no surgery: the structure is that of the class it came from"
        return
    digits = len(str(len(steps)))
    for number, step in enumerate(steps, 1):
        told, items = _removal(step, ranks) if step["do"] == "remove" else _replacement(step)
        yield _fitted(f"{number:>{digits}}  {step['do']}: {told}", items)
    yield _totals(steps, ranks)


def layers_cut(step: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The layers that lose channels in a step: by module path, channels before and after.

    That is dimension 0 of their weights. A tensor of one dimension follows a layer, as those of norms do, and is none;
    where no rank is known, modules with running statistics are those of norms.
    """
    norms = {name.rpartition(".")[0] for name in step["tensors"] if name.endswith("running_mean")}
    found = {}
    for name, cuts in step["tensors"].items():
        path, _, own = name.rpartition(".")
        dim, before, runs = cuts[0]
        if "weight" in own and dim == 0 and ranks.get(name, 2) > 1 and path not in norms:
            found[path if own == "weight" and path else name] = (before, sum(count for _, count in runs))
    return found


def _removal(step: Mapping[str, Any], ranks: Mapping[str, int]) -> tuple[str, list[str]]:
    items = [f"{path} {before} {_ARROW} {after}" for path, (before, after) in layers_cut(step, ranks).items()]
    if items:
        items[0] += " channels"
    numbers = f" and {_many(len(step['set']), 'number')}" if step["set"] else ""
    return f"{_many(len(step['tensors']), 'tensor')}{numbers}", items


def _replacement(step: Mapping[str, Any]) -> tuple[str, list[str]]:
    return _many(len(step["modules"]), "module"), [f"{path} by {made['kind']}" for path, made in step["modules"]]


def _fitted(begin: str, told: Sequence[str]) -> str:
    """The line with as many items as it has room for, at least one, and the number of the others."""
    shown = ""
    for count, item in enumerate(told):
        rest = f", ... ({count_text(len(told) - count)} more)"
        longer = f"{shown}, {item}" if shown else item
        if shown and len(f"{begin}, {longer}{rest}") > _WIDTH:
            return f"{begin}, {shown}{rest}"
        shown = longer
    return f"{begin}, {shown}" if shown else begin


def _totals(steps: Sequence[Mapping[str, Any]], ranks: Mapping[str, int]) -> str:
    begins, ends = _first_and_last(layers_cut(step, ranks) for step in steps if step["do"] == "remove")
    replaced = sum(len(step["modules"]) for step in steps if step["do"] == "replace")
    parts = [_many(len(steps), "step")]
    if begins:
        before, after = sum(begins.values()), sum(ends.values())
        parts.append(f"{_many(len(begins), 'layer')} cut, {count_text(before)} {_ARROW} {count_text(after)} channels")
    if replaced:
        parts.append(f"{_many(replaced, 'module')} replaced")
    return "in all: " + "; ".join(parts)


def _first_and_last(cuts: Iterable[Mapping[str, tuple[int, int]]]) -> tuple[dict[str, int], dict[str, int]]:
    """Channels of each layer before the first of several cuts and after the last."""
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    for layers in cuts:
        for path, (before, after) in layers.items():
            begins.setdefault(path, before)
            ends[path] = after
    return begins, ends


def _many(count: int, what: str) -> str:
    return f"{count_text(count)} {what}{'' if count == 1 else 's'}"
