"""IDX files: exact values, and one clear error for each way to be broken."""

import gzip

import numpy as np
import pytest

from featherweight.data.sources._idx import read_idx
from featherweight.errors import DataError

HEAD = bytes((0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3))


@pytest.mark.parametrize("packed", [False, True])
def test_values_and_shape_come_back(tmp_path, packed):
    path = tmp_path / ("a.gz" if packed else "a")
    data = HEAD + bytes(range(6))
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\x01\0\0\0\0",  # floats
        b"\x89PNG\r\n\x1a\n",
        HEAD[:-1],
        HEAD + bytes(5),
        HEAD + bytes(7),
        bytes((0, 0, 8, 3)) + b"\xff" * 12,  # sizes that no memory holds
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, data):
    path = tmp_path / "broken"
    path.write_bytes(data)
    with pytest.raises(DataError, match="broken"):
        read_idx(path)


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(HEAD + bytes(np.arange(6, dtype=np.uint8)), mtime=0)[:-9]],
    ids=["other format", "cut short"],
)
def test_a_broken_package_is_refused(tmp_path, data):
    path = tmp_path / "broken.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)
