"""Who may import whom: what the contracts in pyproject.toml cannot say."""

import ast
import re
import sys
from collections import defaultdict
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from featherweight.core import catalog

# A socket is a room whose files are found by name; the stems beside it are parts of the room that entries may use.
SOCKETS = {
    "featherweight.techniques": (),
    "featherweight.entropy": ("tables",),
    "featherweight.encodings": ("attach", "payload"),
    "featherweight.data.sources": (),
    "featherweight.frontends": ("resolve", "safetensors_files"),
    "featherweight.profiling": ("profile",),
}


def test_imports_are_absolute(sources):
    assert [source.at(node) for source in sources for node in source.nodes(ast.ImportFrom) if node.level] == []


def test_nothing_inside_imports_from_the_shop_window(sources):
    """`from featherweight import compress` inside the house would load all of it, in a circle."""
    rooms = {source.name.split("/")[2].removesuffix(".py") for source in sources}
    found = [
        source.at(node)
        for source in sources
        for node in source.nodes(ast.ImportFrom, ast.Import)
        if (isinstance(node, ast.Import) and any(alias.name == "featherweight" for alias in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "featherweight"
            and any(alias.name not in rooms for alias in node.names)
        )
    ]
    assert found == []


def test_no_import_inside_a_function(sources):
    """An optional package comes in through core.optional.need. The command line's verbs may import late, so that
    `--help` costs no torch."""
    found = [
        source.at(node)
        for source in sources
        if source.room != "cli"
        for function in source.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert found == []


def test_only_the_catalogue_imports_by_name(sources):
    dynamic = re.compile(r"\bimportlib\.(import_module|util|machinery|reload)|\b__import__\b|^import importlib$", re.M)
    users = [source.name for source in sources if dynamic.search(source.text) or _imports_importlib(source)]
    assert users == ["src/featherweight/core/catalog.py"]


def _imports_importlib(source) -> bool:
    """Reading what is installed (importlib.metadata) and files of the package (importlib.resources) imports nothing."""
    harmless = ("importlib.metadata", "importlib.resources")
    return any(
        module.split(".")[0] == "importlib" and not module.startswith(harmless)
        for node in source.nodes(ast.Import, ast.ImportFrom)
        for module in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    )


LEAVES = {"featherweight.encodings.dense"}
"""Nested encodings end in plain values: `dense` is the ground of its room, and imports no other entry itself."""


@pytest.mark.parametrize("socket", SOCKETS)
def test_implementations_of_a_socket_are_strangers(sources, socket):
    """What several of them need sits beside them in a file that begins with `_`, or goes down a floor."""
    entries = {f"{socket}.{name}" for name in catalog.names(socket, SOCKETS[socket])}
    if not entries:
        pytest.fail(f"the catalogue of {socket} is empty")
    found = [
        source.at(node, module)
        for source in sources
        if _dotted(source.name) in entries
        for node in source.nodes(ast.Import, ast.ImportFrom)
        for module in _modules(node)
        if module in entries - LEAVES and module != _dotted(source.name)
    ]
    assert found == []


def test_an_extra_is_named_in_exactly_one_file(sources, project):
    """So that a package that breaks, moves or goes away is one file's business."""
    places = defaultdict(set)
    for source in sources:
        for package in _packages(source):
            places[package].add(source.name)
    optional = _distributions(project["project"]["optional-dependencies"].values())
    optional -= _distributions([project["project"]["dependencies"]])
    importable = {module for module, names in packages_distributions().items() if optional & {_key(n) for n in names}}
    assert {package: sorted(places[package]) for package in importable if len(places[package]) > 1} == {}


def test_an_extra_comes_in_through_need_only(sources, project):
    required = _distributions([project["project"]["dependencies"]])
    installed = {module: {_key(name) for name in names} for module, names in packages_distributions().items()}
    found = [
        source.at(node, module)
        for source in sources
        for node in source.nodes(ast.Import, ast.ImportFrom)
        for module in _modules(node)
        if (top := module.split(".")[0]) not in sys.stdlib_module_names | {"featherweight"}
        if not installed.get(top, set()) & required
    ]
    assert found == []


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that an import may load: `from a import b` may load a.b too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]


def _packages(source) -> set[str]:
    """Top-level names of what a file imports, plainly or through core.optional.need."""
    plain = {module.split(".")[0] for node in source.nodes(ast.Import, ast.ImportFrom) for module in _modules(node)}
    needed = {
        str(call.args[0].value).split(".")[0]
        for call in source.nodes(ast.Call)
        if ast.unparse(call.func).split(".")[-1] == "need" and call.args and isinstance(call.args[0], ast.Constant)
    }
    return plain | needed


def _dotted(name: str) -> str:
    return name.removeprefix("src/").removesuffix(".py").replace("/", ".")


def _distributions(groups) -> set[str]:
    return {_key(Requirement(line).name) for group in groups for line in group} - {"featherweight"}


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
