"""`featherweight techniques`: what there is, and what one of them takes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from featherweight.cli import output, sources
from featherweight.cli.late import Late
from featherweight.cli.options import TECHNIQUES, Debug, Json, technique_names
from featherweight.core import catalog

if TYPE_CHECKING:
    from featherweight.core import config
    from featherweight.techniques import base
else:
    config = Late("featherweight.core.config")
    base = Late("featherweight.techniques.base")

Name = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="One technique, for its settings.", autocompletion=technique_names),
]


def techniques(name: Name = None, json: Json = False, debug: Debug = False) -> None:
    """Lists the techniques by family, or says what one of them does and which settings it takes.

    Example: featherweight techniques pruning.connection.magnitude
    """
    if name is None:
        _list(json)
    else:
        _describe(name, json)


def _list(json: bool) -> None:
    sentences = {name: sources.first_sentence(TECHNIQUES, name) for name in catalog.names(TECHNIQUES)}
    if json:
        output.document({"techniques": [{"name": name, "does": text} for name, text in sentences.items()]})
        return
    families = sorted({name.split(".")[0] for name in sentences})
    for family in families:
        output.line(family)
        for name, text in sentences.items():
            if name.split(".")[0] == family:
                output.line(f"  {name}")
                output.line(f"      {text}")


def _describe(name: str, json: bool) -> None:
    technique = catalog.load(TECHNIQUES, name, base.Technique)  # type: ignore[type-abstract]  # nothing is made of it
    settings = sources.settings_of(technique)
    about: dict[str, Any] = {
        "name": name,
        "does": sources.sentence(technique.__doc__ or ""),
        "survey": technique.survey,
        "applies_to": list(technique.applies_to),
        "guard_lowers": technique.strength,
        "settings": [setting.as_dict() for setting in settings],
    }
    if json:
        output.document({**about, "schema": config.json_schema(technique)})
        return
    output.line(name)
    output.line(f"  {about['does']}")
    output.line(f"  applies to   {', '.join(technique.applies_to) or 'any layer'}")
    output.line(f"  reference    {technique.survey or 'none'}")
    output.line(f"  the guard    {_guard(technique)}")
    output.line()
    output.table(
        ("setting", "type", "default", "meaning"),
        [(setting.name, setting.type, setting.default, setting.meaning) for setting in settings],
        left=4,
    )


def _guard(technique: "type[base.Technique]") -> str:
    if technique.strength is None:
        return "can only refuse this step"
    return f"moves {technique.strength} towards {technique.gentle:g} when the step costs too much"
