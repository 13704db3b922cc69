"""Writes the pages of docs/techniques/ from the catalogue; `--check` only says which are out of date.

The name of a technique is the path of its page. Everything on it is read from the technique's own file: docstrings,
fields with their comments, survey reference, strength. Nothing on these pages is written by hand.
"""

import ast
import dataclasses
import inspect
import io
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path

import yaml

from featherweight.core import catalog
from featherweight.techniques.base import SOCKET, Technique

DOCS = Path(__file__).parent
ROOT = DOCS.parent
INTRODUCTION = (
    "Generated from the catalogue. The name of a technique is the path of its file, of its test and of its page here,\n"
    "and what a recipe says after `use:`."
)
FAMILIES = {
    "pruning": "Pruning: weights, channels, filters or layers that are not needed are taken away",
    "representation": "Representation: the same weights, said with fewer numbers",
    "precision": "Precision: the same numbers, with fewer bits",
    "distillation": "Distillation: a small network learns from a large one",
    "architecture": "Architecture: another network that does the same with less",
    "transfer": "Transfer: one network starts from, or lives inside, another",
}


def main(arguments: list[str]) -> int:
    """Writes (or with `--check` compares) every page; the exit code is 1 when a checked page differs."""
    wanted = dict(pages())
    found = {path: path.read_text(encoding="utf-8") for path in sorted((DOCS / "techniques").rglob("*.md"))}
    stale = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
    for path in stale:
        print(("out of date: " if "--check" in arguments else "written: ") + path.relative_to(ROOT).as_posix())
    if "--check" in arguments:
        if stale:
            print("Run `make docs` to write them.")
        return int(bool(stale))
    for path in stale:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated page by its path."""
    techniques = {name: catalog.load(SOCKET, name, Technique) for name in catalog.names(SOCKET)}
    yield DOCS / "techniques" / "index.md", index(techniques)
    for name, technique in techniques.items():
        yield DOCS / "techniques" / f"{name.replace('.', '/')}.md", page(name, technique)


def index(techniques: dict[str, type[Technique]]) -> str:
    """All techniques, by family and by the number of their reference in the surveys."""
    lines = ["# Techniques", "", INTRODUCTION, ""]
    families: dict[str, list[str]] = {}
    for name in techniques:
        families.setdefault(name.split(".")[0], []).append(name)
    for family, names in families.items():
        lines += [f"## {FAMILIES.get(family, family.capitalize())}", "", "| technique | applies to | survey |"]
        lines += ["|---|---|---|"]
        lines += [f"| {_link(name)} | {_applies(techniques[name])} | {techniques[name].survey} |" for name in names]
        lines += [""]
    lines += ["## By survey reference", "", "| reference | technique | what it does |", "|---|---|---|"]
    numbered = [(int(n), name) for name, item in techniques.items() for n in re.findall(r"\[(\d+)\]", item.survey)]
    lines += [f"| [{n}] | {_link(name)} | {_sentence(techniques[name])} |" for n, name in sorted(numbered)]
    return "\n".join(lines) + "\n"


def page(name: str, technique: type[Technique]) -> str:
    """One technique: what it does, its settings, how a recipe asks for it."""
    path = name.replace(".", "/")
    lines = [f"# {name}", "", _text(technique.__doc__), ""]
    lines += [f"- **Survey:** {technique.survey}"] if technique.survey else []
    lines += [f"- **Applies to:** {_applies(technique)}", f"- **Accuracy guard:** {_guard(technique)}"]
    lines += [f"- **Source:** `src/featherweight/techniques/{path}.py`"]
    lines += [f"- **Test:** `tests/techniques/{'/'.join(path.split('/')[:-1])}/test_{path.split('/')[-1]}.py`", ""]
    lines += [*_background(technique)]
    lines += ["## Settings", "", *_settings(technique), ""]
    recipe = yaml.safe_dump(_example(name, technique), sort_keys=False).strip()
    lines += ["## In a recipe", "", "```yaml", recipe, "```"]
    return "\n".join(lines) + "\n"


def _settings(technique: type[Technique]) -> list[str]:
    fields = dataclasses.fields(technique)
    if not fields:
        return ["None."]
    written = _written(technique)
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        kind, note = written[field.name]
        cells = (f"`{field.name}`", f"`{kind}`", _default(field), note)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _background(technique: type[Technique]) -> list[str]:
    """What the file says beyond its first sentence: sources, notation, units."""
    _, _, rest = _text(inspect.getdoc(inspect.getmodule(technique))).partition("\n\n")
    return ["## Source and notation", "", rest, ""] if rest else []


def _written(technique: type[Technique]) -> dict[str, tuple[str, str]]:
    """Type and comment of each field as its class or a base of it spells them: beside the field and right above it."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(technique.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        source = inspect.getsource(base)
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        lines = source.splitlines()
        for node in ast.parse(textwrap.dedent(source)).body[0].body:
            if not isinstance(node, ast.AnnAssign):
                continue
            first, last = node.lineno, node.end_lineno or node.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            text = [comments[number] for number in range(first, last + 1) if number in comments]
            found[ast.unparse(node.target)] = (ast.unparse(node.annotation), " ".join(text))
    return found


def _default(field: "dataclasses.Field[object]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def _example(name: str, technique: type[Technique]) -> dict[str, object]:
    """One step with its strength field, or the first few fields, at their defaults."""
    fields = {field.name: field.default for field in dataclasses.fields(technique)}
    shown = [technique.strength] if technique.strength else list(fields)[:1]
    settings = {key: fields[key] for key in shown if isinstance(fields.get(key), int | float | str)}
    step: dict[str, object] = {"use": name} | ({"with": settings} if settings else {})
    return {"version": 1, "name": "example", "steps": [step]}


def _guard(technique: type[Technique]) -> str:
    if technique.strength is None:
        return "a step that costs too much is refused as a whole"
    return f"a step that costs too much is backed off: `{technique.strength}` moves towards {technique.gentle:g}"


def _applies(technique: type[Technique]) -> str:
    return ", ".join(technique.applies_to) or "any layer"


def _sentence(technique: type[Technique]) -> str:
    return _text(technique.__doc__).split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + "."


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def _link(name: str) -> str:
    return f"[`{name}`]({name.replace('.', '/')}.md)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
