"""Every front end says how its names look, and no two accept the same name."""

import pytest

from featherweight.core.catalog import load, names
from featherweight.frontends.base import SOCKET, FrontEnd
from featherweight.frontends.resolve import SKIP


@pytest.mark.parametrize("kind", names(SOCKET, SKIP))
def test_a_front_end_accepts_names_that_look_as_it_says(kind):
    assert load(SOCKET, kind, FrontEnd, SKIP).accepts(load(SOCKET, kind, FrontEnd, SKIP).looks)


@pytest.mark.parametrize("name", ["a/b.py:task", "b.py", "w.safetensors", "C:\\work\\b.py:task"])
def test_one_front_end_accepts_a_name(name):
    kinds = [load(SOCKET, kind, FrontEnd, SKIP) for kind in names(SOCKET, SKIP)]
    assert sum(kind.accepts(name) for kind in kinds) == 1
