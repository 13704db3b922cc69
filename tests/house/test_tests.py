"""Rules about the tests: each checks something, and each source file has its own."""

import ast
from pathlib import Path


def test_every_test_checks_something(test_files):
    """A test that only proves that it ran is none."""
    idle = [
        source.at(function, function.name)
        for source in test_files
        for function in source.functions()
        if function.name.startswith("test_") and Path(source.name).name.startswith("test_")
        if not _checks(function, _helpers(source))
    ]
    assert idle == []


def _checks(node: ast.AST, helpers: set[str]) -> bool:
    return any(isinstance(inner, ast.Assert) or _is_check(inner, helpers) for inner in ast.walk(node))


def _is_check(node: ast.AST, helpers: set[str]) -> bool:
    """Calls of assert_..., check_..., pytest.raises, pytest.warns, pytest.fail, or of a helper that checks."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    last = name.split(".")[-1]
    return last.startswith(("assert_", "check_")) or last in helpers or name in _PYTEST


_PYTEST = {"pytest.raises", "pytest.warns", "pytest.fail"}


def _helpers(source) -> set[str]:
    """Functions of the same file that check, directly or through each other."""
    functions = [function for function in source.functions() if not function.name.startswith("test_")]
    known: set[str] = set()
    while True:
        found = {function.name for function in functions if _checks(function, known)}
        if found <= known:
            return known
        known |= found


def test_every_source_file_has_its_test(sources, test_files):
    """`src/featherweight/x/y.py` is tested by `tests/x/test_y.py`. Interfaces hold nothing to test: `base.py`, and
    files in which no function has a body."""
    tests = {source.name for source in test_files}
    missing = [
        source.name
        for source in sources
        if Path(source.name).stem not in {"__init__", "__main__", "base"} and _has_behaviour(source)
        if not _homes(source.name) & tests
    ]
    assert missing == []


def _homes(name: str) -> set[str]:
    path = Path(name).relative_to("src/featherweight")
    folder = Path("tests") / path.parent
    return {(folder / f"test_{stem}.py").as_posix() for stem in (path.stem, path.stem.lstrip("_"))}


def _has_behaviour(source) -> bool:
    return any(_body(function) for function in source.functions())


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """The statements of a function without docstring and `...`."""
    return [
        statement
        for statement in function.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]


def test_every_test_has_its_source(sources, test_files):
    """A test file without its source file is left over or lies in the wrong place."""
    apart = {"house", "conformance", "golden", "attacks", "examples", "benchmarks"}
    known = {home for source in sources for home in _homes(source.name)}
    known |= {f"tests/{'/'.join(Path(s.name).parts[2:-1])}/test_{Path(s.name).parent.name}.py" for s in sources}
    stray = [
        source.name
        for source in test_files
        if Path(source.name).name.startswith("test_") and Path(source.name).parts[1] not in apart
        if source.name not in known and not _belongs_to_a_room(source.name, sources)
    ]
    assert stray == []


def _belongs_to_a_room(name: str, sources) -> bool:
    """A file that tests several files of one room together lies in that room's folder."""
    folder = Path(name).parent.relative_to("tests")
    return any(Path(source.name).parent == Path("src/featherweight") / folder for source in sources)
