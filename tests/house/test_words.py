"""What may not be written in the package: see the table in docs/architecture.md."""

import ast
import re
from collections.abc import Iterator

MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = {"list", "dict", "set", "bytearray"}


def test_no_assert(sources):
    """`python -O` takes asserts away; a check that matters raises an error of the house."""
    assert [source.at(node) for source in sources for node in source.nodes(ast.Assert)] == []


def test_only_the_command_line_prints_or_exits(sources):
    found = [
        source.at(node, name)
        for source in sources
        if source.room != "cli"
        for node in source.nodes(ast.Name, ast.Attribute)
        if (name := ast.unparse(node)) in {"print", "SystemExit", "sys.exit", "os._exit", "exit", "quit"}
    ]
    assert found == []


def test_no_bare_except(sources):
    """Nor one that swallows what stops a process; `except Exception` needs a reason beside it, which ruff holds."""
    found = [
        source.at(node)
        for source in sources
        for node in source.nodes(ast.ExceptHandler)
        if node.type is None
        or (ast.unparse(node.type) == "BaseException" and not any(isinstance(n, ast.Raise) for n in ast.walk(node)))
    ]
    assert found == []


def test_no_mutable_default(sources):
    """`= {}` is fine where the annotation is Mapping or Sequence: there the type checker forbids to write to it."""
    found = [
        source.at(default, function.name)
        for source in sources
        for function in source.functions()
        for argument, default in _defaults(function.args)
        if isinstance(default, MUTABLE) or (isinstance(default, ast.Call) and ast.unparse(default.func) in MAKERS)
        if argument.annotation is None or not ast.unparse(argument.annotation).startswith(("Mapping[", "Sequence["))
    ]
    assert found == []


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    yield from ((argument, default) for argument, default in by_name if default is not None)


def test_nothing_can_unpickle(tracked):
    """A compressed file is data. Looked for in all Python files, since a benchmark can be copied into a product."""
    banned = re.compile(
        "|".join((r"\bpickle\.load", r"\bimport pickle", r"weights_only\s*=\s*" + "False", r"\bdill\b"))
    )
    loads = re.compile(r"\btorch\.load\(")
    found = []
    for path in tracked:
        if path.suffix != ".py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if banned.search(line) and path.name != "test_words.py":
                found.append(f"{path}:{number}")
            if loads.search(line) and "weights_only=True" not in line and path.name != "test_words.py":
                found.append(f"{path}:{number} torch.load without weights_only=True")
    assert found == []


def test_every_public_name_has_a_docstring(sources):
    missing = [
        source.at(node, node.name)
        for source in sources
        for node in source.nodes(ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if not node.name.startswith("_") and not ast.get_docstring(node) and node in _reachable(source.tree)
    ]
    missing += [source.name for source in sources if not ast.get_docstring(source.tree)]
    assert missing == []


def _reachable(tree: ast.Module) -> set[ast.AST]:
    """Public things that a reader can name: at the top of a module or of a public class."""
    found: set[ast.AST] = set()
    for node in tree.body:
        found.add(node)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found.update(node.body)
    return found
