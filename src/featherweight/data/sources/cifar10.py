"""CIFAR-10: 50,000 + 10,000 colour pictures, 32x32 (Krizhevsky 2009). The pickled python version is not read."""

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from featherweight.data.base import Part, Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Form, Lookup
from featherweight.data.sources._npz import read_npz
from featherweight.errors import DataError

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD_BYTES = 1 + 3 * 32 * 32  # label, then red, green and blue planes
TRAIN_FILES = tuple(f"data_batch_{index}.bin" for index in range(1, 6))
TEST_FILE = "test_batch.bin"
INNER_FOLDER = "cifar-10-batches-bin"

ARCHIVE = Form(
    files=("cifar10.npz",),
    words="cifar10.npz (arrays x_train uint8 (50000, 32, 32, 3), y_train, x_test, y_test)",
    folders=("", "cifar10"),
)
BINARY = Form(
    files=(*TRAIN_FILES, TEST_FILE),
    words=f"the folder {INNER_FOLDER}",
    folders=(INNER_FOLDER, "cifar10", f"cifar10/{INNER_FOLDER}"),
)
TAR = Form(
    files=("cifar-10-binary.tar.gz",),
    words="cifar-10-binary.tar.gz (the binary version; the pickled python version is not read)",
    folders=("", "cifar10"),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    hashes=("sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",),
)
JPEG = Form(
    files=("cifar10-jpeg.npz",),
    words="cifar10-jpeg.npz (JPEG streams: jpeg_train, offset_train, y_train, ...; lossy)",
    folders=("", "cifar10"),
)


@dataclass(frozen=True, kw_only=True)
class Cifar10(Source):
    """The complete set. Lossless forms come before the JPEG one; what was read is said in `Splits.origin`."""

    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)  # of the training images by channel, 0..1
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)  # of the training images by channel, 0..1

    def parts(self, lookup: Lookup) -> Parts:
        """Training and test part. Raises: MissingDataError, DataError; MissingExtraError for JPEG without Pillow."""
        form, paths = lookup.find("cifar10", (ARCHIVE, BINARY, TAR, JPEG), HOME)
        if form is BINARY:
            parts = _from_records({path.name: path.read_bytes() for path in paths}, paths[0].parent)
        elif form is TAR:
            parts = _from_records(_members(paths[0]), paths[0])
        else:
            parts = read_npz(paths[0])
        lossy = " (JPEG, lossy)" if form is JPEG else ""
        return Parts(
            train=parts.get("train"),
            test=parts.get("test"),
            transform=Normalize(self.mean, self.std),
            classes=CLASSES,
            origin=f"{paths[0].parent if form is BINARY else paths[0]}{lossy}",
        )


def _members(path: Path) -> dict[str, bytes]:
    """The six files of the tar by their base names, read in memory: nothing is unpacked onto the disk."""
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(f"{INNER_FOLDER}/") and member.name.endswith(".bin"):
                    stream = archive.extractfile(member)
                    found[Path(member.name).name] = stream.read() if stream is not None else b""
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError("is no readable tar.gz", where=str(path), value=str(error)) from error
    return found


def _from_records(files: dict[str, bytes], where: Path) -> dict[str, Part]:
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in files]
    if missing:
        raise DataError("a file of the binary version is missing", where=str(where), value=missing)
    for name, data in files.items():
        if not data or len(data) % RECORD_BYTES:
            raise DataError(f"is no sequence of {RECORD_BYTES}-byte records", where=f"{where}/{name}", value=len(data))
    return {
        "train": _records(b"".join(files[name] for name in TRAIN_FILES)),
        "test": _records(files[TEST_FILE]),
    }


def _records(data: bytes) -> Part:
    table = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    images = np.ascontiguousarray(table[:, 1:]).reshape(-1, 3, 32, 32)
    return Part(torch.from_numpy(images), torch.from_numpy(table[:, 0].astype(np.int64)))
