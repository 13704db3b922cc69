"""Every technique of the catalogue keeps the promises of its interface, alone and after every other."""

import itertools

import pytest

from featherweight.core import catalog
from featherweight.techniques.base import SOCKET, Technique
from featherweight.testing.techniques import CHECKS, check_pair

NAMES = catalog.names(SOCKET)


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_its_promises(name, promise):
    check_promise = CHECKS[promise]
    check_promise(catalog.load(SOCKET, name, Technique))


@pytest.mark.parametrize(("first", "second"), list(itertools.product(NAMES, NAMES)))
def test_combines_or_says_why_not(first, second):
    check_pair(catalog.load(SOCKET, first, Technique), catalog.load(SOCKET, second, Technique))
