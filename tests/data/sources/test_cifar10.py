"""CIFAR-10 from each of its forms: the same pixels in the same places."""

import io
import tarfile

import numpy as np
import pytest

from featherweight.data.places import Lookup
from featherweight.data.sources.cifar10 import INNER_FOLDER, TEST_FILE, TRAIN_FILES, Cifar10
from featherweight.errors import DataError, MissingDataError


@pytest.fixture
def records():
    """Two records a file: label = number of the file, planes filled with 10, 20, 30 plus the number."""
    files = {}
    for number, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        record = bytes([number]) + b"".join(bytes([shade + number]) * 1024 for shade in (10, 20, 30))
        files[name] = record * 2
    return files


def check(parts):
    assert parts.train.target.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert parts.test.target.tolist() == [5, 5]
    assert parts.train.inputs[3].float().mean((1, 2)).tolist() == [11, 21, 31]
    assert tuple(parts.test.inputs.shape) == (2, 3, 32, 32)
    assert parts.classes[5] == "dog"


def test_the_folder_of_records(tmp_path, records):
    (tmp_path / INNER_FOLDER).mkdir()
    for name, data in records.items():
        (tmp_path / INNER_FOLDER / name).write_bytes(data)
    check(Cifar10().parts(Lookup((tmp_path,), download=False)))


def pack(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_the_tar_is_read_without_unpacking(tmp_path, records):
    pack(tmp_path / "cifar-10-binary.tar.gz", {f"{INNER_FOLDER}/{name}": data for name, data in records.items()})
    check(Cifar10().parts(Lookup((tmp_path,), download=False)))
    assert [item.name for item in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("change", ["missing", "short", "torn", "elsewhere"])
def test_a_broken_tar_is_refused(tmp_path, records, change):
    path = tmp_path / "cifar-10-binary.tar.gz"
    folder = "../escape" if change == "elsewhere" else INNER_FOLDER
    files = {f"{folder}/{name}": data for name, data in records.items()}
    if change == "missing":
        del files[f"{INNER_FOLDER}/{TEST_FILE}"]
    if change == "short":
        files[f"{INNER_FOLDER}/{TEST_FILE}"] = b"1234"
    pack(path, files)
    if change == "torn":
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cifar-10-binary"):
        Cifar10().parts(Lookup((tmp_path,), download=False))


def test_streams_say_that_they_are_lossy(tmp_path):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (32, 32), (200, 100, 50)).save(file, "JPEG")
    data = np.frombuffer(file.getvalue(), np.uint8)
    part = {"jpeg": data, "offset": np.array([0, len(data)]), "y": np.array([4], np.uint8)}
    np.savez(tmp_path / "cifar10-jpeg.npz", **{f"{k}_{s}": v for k, v in part.items() for s in ("train", "test")})
    parts = Cifar10().parts(Lookup((tmp_path,), download=False))
    assert "lossy" in parts.origin
    assert parts.test.inputs[0].float().mean((1, 2)).tolist() == pytest.approx([200, 100, 50], abs=4)


def test_the_error_warns_of_the_pickled_version(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(MissingDataError, match="pickled"):
        Cifar10().parts(Lookup((tmp_path,), download=False))
