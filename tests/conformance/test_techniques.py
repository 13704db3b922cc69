"""Every technique of the catalogue keeps the promises of its interface, alone and after every other."""

import itertools

import pytest

from featherweight.core import catalog
from featherweight.techniques.base import SOCKET, Technique
from featherweight.testing.techniques import CHECKS, check_pair, zoo

NAMES = catalog.names(SOCKET)


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_its_promises(name, promise):
    check_promise = CHECKS[promise]
    check_promise(catalog.load(SOCKET, name, Technique))


PAIRS = list(itertools.product(NAMES, NAMES))


@pytest.mark.parametrize(("number", "first", "second"), [(number, *pair) for number, pair in enumerate(PAIRS)])
def test_combines_or_says_why_not(number, first, second):
    """Each pair on one network of the zoo, in turns; the slow test has all of them."""
    chosen = list(zoo())[(number + number // len(NAMES)) % len(zoo())]
    check_pair(catalog.load(SOCKET, first, Technique), catalog.load(SOCKET, second, Technique), [chosen])


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_combines_on_every_network(first, second):
    check_pair(catalog.load(SOCKET, first, Technique), catalog.load(SOCKET, second, Technique))
