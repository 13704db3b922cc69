"""The battery for encodings finds encodings that break a promise."""

import dataclasses

import pytest
import torch

from featherweight.encodings.dense import Dense
from featherweight.entropy.base import ALONE
from featherweight.errors import ConformanceError
from featherweight.testing.encodings import CHECKS, tensors


class Transposed(Dense):
    @property
    def shape(self):
        return tuple(self.values.shape[::-1])


class Rounding(Dense):
    @classmethod
    def unpack(cls, shape, packed, work=ALONE):
        return Dense(Dense.unpack(shape, packed).values.round())


class Stretching(Dense):
    @classmethod
    def layout(cls, shape, fields):
        layout = Dense.layout(shape, fields)
        return dataclasses.replace(layout, streams=layout.streams[:1] * 2)


class Drifting(Dense):
    def project(self, weight):
        return weight + 1


@pytest.mark.parametrize(
    ("encoding", "promise"), [(Transposed, "keeps"), (Rounding, "forms"), (Stretching, "forms"), (Drifting, "training")]
)
def test_finds_what_is_broken(encoding, promise):
    check_promise = CHECKS[promise]
    with pytest.raises(ConformanceError):
        check_promise(encoding)


@pytest.mark.parametrize("promise", ["payload", "broken payloads"])
def test_finds_what_is_read_wrong(promise, monkeypatch):
    """These checks read by the number in the file, so Dense itself has to be broken."""
    monkeypatch.setattr(Dense, "unpack", classmethod(lambda cls, shape, packed, work: cls(torch.zeros(shape))))
    check_promise = CHECKS[promise]
    with pytest.raises(ConformanceError):
        check_promise(Dense)


def test_tensors_are_the_same_each_time():
    for one, other in zip(tensors(), tensors(), strict=True):
        assert torch.equal(one, other)
