"""If it is written, it runs: README, doctests, generated pages."""

import doctest
import pkgutil
import re
import subprocess
import sys

import featherweight
from featherweight.core.catalog import module_named


def test_doctests_hold():
    """Every example in a docstring of the package."""
    failed = {}
    for found in pkgutil.walk_packages(featherweight.__path__, "featherweight."):
        if found.name.endswith("__main__"):
            continue
        result = doctest.testmod(module_named(found.name), optionflags=doctest.ELLIPSIS)
        if result.failed:
            failed[found.name] = result.failed
    assert failed == {}


def test_generated_pages_are_up_to_date(root):
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_documents_lead_somewhere(root):
    """Relative links of the Markdown files beside the site; those inside docs/ are held by the strict build."""
    dead = [
        f"{path.name}: {target}"
        for path in sorted(root.glob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (root / target).exists()
    ]
    assert dead == []
