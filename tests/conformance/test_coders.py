"""Every coder of the catalogue keeps the promises of its interface."""

import numpy as np
import pytest

from featherweight.core import catalog
from featherweight.entropy.base import Coder, Stream
from featherweight.testing.coders import CHECKS

SOCKET = "featherweight.entropy"
NAMES = catalog.names(SOCKET, ("tables",))


def load(name: str) -> Coder:
    return catalog.load(SOCKET, name, Coder, ("tables",))()


@pytest.mark.parametrize("promise", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_its_promises(name, promise):
    check_promise = CHECKS[promise]
    check_promise(load(name))


def test_numbers_in_the_file_differ():
    codes = {name: load(name).code for name in NAMES}
    assert len(set(codes.values())) == len(codes)
    assert all(0 <= code <= 255 for code in codes.values())


def test_raw_or_constant_hold_every_stream():
    """The writer counts on it: coders 0 and 1 always take part."""
    coders = {load(name).code: load(name) for name in NAMES}
    assert coders[0].to_bits(np.zeros(3, np.uint8), Stream(3, 1)) == b""
    assert len(coders[1].to_bits(np.arange(256, dtype=np.uint8), Stream(256, 256))) == 256
