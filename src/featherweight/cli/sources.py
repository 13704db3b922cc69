"""What the source files of a socket say about themselves, read as text: nothing is imported."""

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import Any

REQUIRED = "required"
_HOUSE = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a settings dataclass, as its source file says it."""

    name: str
    type: str
    default: str
    meaning: str

    def as_dict(self) -> dict[str, str]:
        """The four texts by name."""
        return dataclasses.asdict(self)


def first_sentence(socket: str, name: str) -> str:
    """The first sentence of the one public class in the file of `name` (else of the file); "" where there is none."""
    path = _HOUSE.parent.joinpath(*socket.split("."), *name.split(".")).with_suffix(".py")
    if not path.is_file():
        return ""  # an entry point of another package
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    texts = [*(ast.get_docstring(node) for node in classes[:1]), ast.get_docstring(tree)]
    return next((sentence(text) for text in texts if text), "")


def sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    found = re.match(r"(.+?\.)(?=\s+[A-Z\[]|$)", paragraph)
    return found.group(1) if found else paragraph


def settings_of(cls: type[Any]) -> list[Setting]:
    """The fields of a settings dataclass with the comments that stand beside or above them, inherited ones too."""
    comments: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if dataclasses.is_dataclass(owner):
            comments |= _comments(owner)
    return [
        Setting(field.name, _type_text(field.type), _default_text(field), comments.get(field.name, ""))
        for field in dataclasses.fields(cls)
    ]


def _type_text(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace("typing.", "")


def _default_text(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return REQUIRED


def _comments(cls: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}  # made at run time: there is no file to read
    beside = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    tree = ast.parse(source).body[0]
    found = {}
    for node in tree.body if isinstance(tree, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = _about(node, beside, lines)
    return found


def _about(node: ast.AnnAssign, beside: dict[int, str], lines: list[str]) -> str:
    above: list[str] = []
    line = node.lineno - 1
    while line in beside and lines[line - 1].lstrip().startswith("#"):
        above.insert(0, beside[line])
        line -= 1
    right = [beside[number] for number in range(node.lineno, (node.end_lineno or node.lineno) + 1) if number in beside]
    return " ".join([*above, *right])
