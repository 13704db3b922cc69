"""The repository speaks of the project alone, and says the same everywhere."""

import re

from packaging.requirements import Requirement
from packaging.version import Version

TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".sh", ".cfg", ".html", ".css", ".js", ""}


def test_no_machine_path_and_no_registry_host(tracked, root):
    """What works on one machine only, or sends a reader's pip somewhere else. Written in parts, or it finds itself."""
    parts = (
        r"/(?:home|Users|root)/\w",
        r"/work" + r"/\w",
        r"/tmp" + r"/fw",
        "index" + "-url",
        "find" + "-links",
        r"files\.python" + "hosted",
        r"registry ?= ?" + "http",
    )
    leak = re.compile("|".join(parts))
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in tracked
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if leak.search(line) and path.name != "test_project.py"
    ]
    assert found == []


def test_constraints_hold_names_and_versions_only(root):
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert names == sorted(names)
    assert len(set(names)) == len(names)


def test_constraints_pin_every_requirement_inside_its_range(root, project):
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = {_key(name): Version(version) for name, _, version in (line.partition("==") for line in lines[1:])}
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted = [Requirement(line) for group in groups for line in group if not line.startswith("featherweight")]
    assert [str(item) for item in wanted if _key(item.name) not in pins] == []
    assert [str(item) for item in wanted if not item.specifier.contains(pins[_key(item.name)])] == []
    assert pins["torch"] == Version("2.13.0")


def test_torchvision_is_never_installed_by_us(root, project):
    """Beside a CPU build of torch it fails at import, with a RuntimeError."""
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    assert not any("torchvision" in line for group in groups for line in group)
    assert "torchvision" not in (root / "constraints.txt").read_text()


def test_make_targets_are_thin(root):
    """A target of the Makefile is one or two lines that can be typed by hand."""
    recipes = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", (root / "Makefile").read_text(), re.MULTILINE)
    lengths = {name: body.count("\n") for name, body in recipes}
    assert {"demo", "test", "test-slow", "check", "format", "docs", "bench"} <= set(lengths)
    assert {name: lines for name, lines in lengths.items() if not 1 <= lines <= 2} == {}


def test_the_package_is_typed(root):
    assert (root / "src/featherweight/py.typed").exists()


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
