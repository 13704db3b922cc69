"""The digits in scikit-learn."""

import pytest
import torch

from featherweight.data.places import Lookup
from featherweight.data.sources.digits import Digits


@pytest.fixture(scope="module")
def parts():
    pytest.importorskip("sklearn.datasets")
    return Digits().parts(Lookup((), download=False))


def test_the_parts_have_all_digits(parts):
    assert len(parts.train.target) + len(parts.test.target) == 1797
    assert sorted(parts.test.target.unique().tolist()) == list(range(10))


def test_the_stated_statistics_are_those_of_the_images(parts):
    pixels = torch.cat([parts.train.inputs, parts.test.inputs]).float() / 255
    assert float(pixels.mean()) == pytest.approx(parts.transform.mean[0], abs=1e-3)
    assert float(pixels.std()) == pytest.approx(parts.transform.std[0], abs=1e-3)
    assert float(pixels.max()) == 1.0
