"""The user's own archive as a source."""

import numpy as np
import pytest
import torch

from featherweight.data.places import Lookup
from featherweight.data.sources.npz import Npz

LOOKUP = Lookup((), download=False)


@pytest.fixture
def path(tmp_path):
    images = np.zeros((4, 2, 2), np.uint8)
    images[:2] = 255
    np.savez(tmp_path / "own.npz", x_train=images, y_train=np.arange(4), x_validation=images[:1], y_validation=[0])
    return tmp_path / "own.npz"


def test_images_are_normalised_to_their_own_statistics(path):
    parts = Npz(path=path).parts(LOOKUP)
    assert parts.transform.mean == pytest.approx((0.5,))
    assert parts.transform.std == pytest.approx((0.5,))
    assert parts.origin == str(path)


def test_a_validation_part_is_given_and_a_test_part_is_not_invented(path):
    parts = Npz(path=path).parts(LOOKUP)
    assert len(parts.validation.inputs) == 1
    assert parts.test is None


def test_stated_statistics_win(path):
    assert Npz(path=path, mean=(0.25,)).parts(LOOKUP).transform.mean == (0.25,)


def test_numbers_are_left_as_they_are(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.full((3, 2), 9.5), y=np.arange(3))
    parts = Npz(path=tmp_path / "own.npz").parts(LOOKUP)
    assert parts.transform is None
    assert torch.equal(parts.train.examples().gather(torch.arange(3)).inputs[0], torch.full((3, 2), 9.5))
