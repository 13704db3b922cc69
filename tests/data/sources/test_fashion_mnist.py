"""Fashion-MNIST from the places where systems and tools put it."""

import numpy as np
import pytest

from featherweight.data.places import Lookup
from featherweight.data.sources.fashion_mnist import FashionMnist
from featherweight.errors import MissingDataError


@pytest.mark.parametrize("folder", ["fashion-mnist", "FashionMNIST/raw", "fashion_mnist"])
def test_the_four_files(tmp_path, write_idx, digits_like, folder):
    write_idx(tmp_path / folder, packed=True)
    parts = FashionMnist().parts(Lookup((tmp_path,), download=False))
    assert np.array_equal(parts.train.inputs.numpy(), digits_like["train-images-idx3-ubyte"])
    assert parts.classes[9] == "Ankle boot"
    assert parts.transform.std == (0.3530,)


def test_the_files_of_mnist_are_not_taken_for_it(tmp_path, write_idx):
    write_idx(tmp_path / "mnist", packed=True)
    with pytest.raises(MissingDataError, match="fashion_mnist"):
        FashionMnist().parts(Lookup((tmp_path,), download=False))
