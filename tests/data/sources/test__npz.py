"""Archives: names, layouts, types, and refusal of anything that would have to be unpickled."""

import numpy as np
import pytest
import torch

from featherweight.data.sources._npz import read_npz
from featherweight.errors import DataError


def archive(folder, **arrays):
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


def test_parts_by_name(tmp_path):
    path = archive(
        tmp_path,
        x_train=np.zeros((3, 4), np.float64),
        y_train=np.arange(3, dtype=np.uint8),
        x_test=np.ones((2, 4), np.float16),
        y_test=np.arange(2.0),
    )
    parts = read_npz(path)
    assert sorted(parts) == ["test", "train"]
    assert parts["train"].inputs.dtype == parts["test"].inputs.dtype == torch.float32
    assert parts["train"].target.dtype == torch.int64
    assert parts["test"].target.dtype == torch.float32  # targets of a regression stay numbers


def test_arrays_without_a_part_are_for_training(tmp_path):
    assert list(read_npz(archive(tmp_path, x=np.zeros((3, 2)), y=np.zeros(3)))) == ["train"]


def test_token_numbers_stay_integers(tmp_path):
    assert read_npz(archive(tmp_path, x=np.zeros((3, 2), np.int32), y=np.zeros(3)))["train"].inputs.dtype == torch.int64


@pytest.mark.parametrize(
    ("shape", "want"), [((2, 5, 6, 3), (2, 3, 5, 6)), ((2, 3, 5, 6), (2, 3, 5, 6)), ((2, 5, 6), (2, 5, 6))]
)
def test_channels_come_first(tmp_path, shape, want):
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    got = read_npz(archive(tmp_path, x=images, y=np.zeros(2)))["train"].inputs
    assert tuple(got.shape) == want
    if shape != want:
        assert got[1, 2, 3, 4] == images[1, 3, 4, 2]


def test_objects_are_never_unpickled(tmp_path):
    path = archive(tmp_path, x=np.array([{"a": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match="plain arrays"):
        read_npz(path)


def test_text_is_no_input(tmp_path):
    with pytest.raises(DataError, match="numbers"):
        read_npz(archive(tmp_path, x=np.array(["a"]), y=np.zeros(1)))


def test_unknown_names_are_told_with_the_right_ones(tmp_path):
    with pytest.raises(DataError, match=r"images.*x_train"):
        read_npz(archive(tmp_path, images=np.zeros(3)))


def test_lengths_must_agree(tmp_path):
    with pytest.raises(DataError, match="length"):
        read_npz(archive(tmp_path, x=np.zeros((3, 2)), y=np.zeros(2)))


def test_streams_need_offsets(tmp_path):
    with pytest.raises(DataError, match="offset_train"):
        read_npz(archive(tmp_path, jpeg_train=np.zeros(3, np.uint8), y_train=np.zeros(1)))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 torn", b"no archive"])
def test_a_broken_archive_is_refused(tmp_path, data):
    path = tmp_path / "set.npz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set\.npz"):
        read_npz(path)


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "set.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="plain arrays"):
        read_npz(tmp_path / "set.npz")


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.npz"):
        read_npz(tmp_path / "gone.npz")
