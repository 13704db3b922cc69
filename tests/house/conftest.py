"""The source of the house, read once: what the house rules look at."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file: `name` is its path below the root of the repository, with slashes."""

    path: Path
    name: str

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.name)

    @property
    def room(self) -> str:
        """The folder below src/featherweight that the file lies in; "" for the files beside the rooms."""
        parts = Path(self.name).parts[2:]
        return parts[0] if len(parts) > 1 else ""

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return self.nodes(ast.FunctionDef, ast.AsyncFunctionDef)

    def at(self, node: ast.AST, what: str = "") -> str:
        """Where a rule is broken, in the form that editors jump to."""
        return f"{self.name}:{getattr(node, 'lineno', 1)} {what}".rstrip()


def _python_files(folder: str) -> list[Source]:
    return [
        Source(path, path.relative_to(ROOT).as_posix())
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every Python file of the package."""
    found = _python_files("src/featherweight")
    assert len(found) > 30, "the rules look at the wrong folder"
    return found


@pytest.fixture(scope="session")
def test_files() -> list[Source]:
    """Every Python file of the tests."""
    return _python_files("tests")


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """The files that the repository keeps: as git lists them, or every file of an unpacked source archive."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
    built = {".venv", "__pycache__", "runs", "site", "dist", "build", ".git"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not built & set(path.parts)]
