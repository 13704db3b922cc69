"""MNIST from an archive or from its four files, wherever other tools put them."""

import numpy as np
import pytest

from featherweight.data.places import Lookup
from featherweight.data.sources.mnist import Mnist


@pytest.mark.parametrize(("folder", "packed"), [("mnist", True), ("MNIST/raw", False)])
def test_the_four_files(tmp_path, write_idx, digits_like, folder, packed):
    write_idx(tmp_path / folder, packed=packed)
    parts = Mnist().parts(Lookup((tmp_path,), download=False))
    assert np.array_equal(parts.train.inputs.numpy(), digits_like["train-images-idx3-ubyte"])
    assert np.array_equal(parts.test.target.numpy(), digits_like["t10k-labels-idx1-ubyte"])
    assert parts.origin == str(tmp_path / folder)
    assert parts.classes[3] == "3"


def test_the_archive_comes_before_the_files(tmp_path, write_idx):
    write_idx(tmp_path / "mnist", packed=True)
    image = np.zeros((1, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=image, y_train=[0], x_test=image, y_test=[0])
    assert Mnist().parts(Lookup((tmp_path,), download=False)).origin.endswith("mnist.npz")


def test_pixels_are_normalised_by_the_known_statistics(tmp_path, write_idx):
    write_idx(tmp_path / "mnist", packed=False)
    assert Mnist().parts(Lookup((tmp_path,), download=False)).transform.mean == (0.1307,)
