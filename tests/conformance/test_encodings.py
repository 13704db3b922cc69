"""Every encoding of the catalogue keeps the promises of its interface."""

import pytest

from featherweight.core import catalog
from featherweight.encodings.base import Encoding
from featherweight.testing.encodings import CHECKS

SOCKET = "featherweight.encodings"
SKIP = ("attach", "payload")
NAMES = catalog.names(SOCKET, SKIP)


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_its_promises(name, promise):
    check_promise = CHECKS[promise]
    check_promise(catalog.load(SOCKET, name, Encoding, SKIP))


def test_numbers_in_the_file_differ():
    codes = {name: catalog.load(SOCKET, name, Encoding, SKIP).code for name in NAMES}
    assert len(set(codes.values())) == len(codes)
    assert all(0 <= code <= 255 for code in codes.values())
