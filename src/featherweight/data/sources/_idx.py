"""The IDX format of MNIST: two zero bytes, type, rank, big-endian sizes, then the values."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featherweight.data.base import Part
from featherweight.data.places import Form
from featherweight.errors import DataError

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
UNSIGNED_BYTES = 0x08


def idx_form(folders: tuple[str, ...], mirrors: tuple[str, ...], digests: tuple[str, ...]) -> Form:
    """The form of a set in four IDX files; `digests` are SHA-256 in hexadecimal, in the order of `FILES`."""
    return Form(
        files=FILES,
        words=f"the four files {', '.join(FILES)} (packed or not)",
        folders=folders,
        mirrors=mirrors,
        hashes=tuple(f"sha256:{digest}" for digest in digests),
    )


def read_idx_parts(paths: tuple[Path, ...]) -> dict[str, Part]:
    """Training and test part from the paths of the four `FILES`."""
    train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths)
    return {
        "train": Part(train_images, train_labels.to(torch.int64)),
        "test": Part(test_images, test_labels.to(torch.int64)),
    }


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor in an IDX file, gzip-packed (.gz) or plain.

    Raises: DataError when it cannot be read or its length is not what its head says.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("cannot be read", where=str(path), value=str(error)) from error
    if len(raw) < 4 or raw[:3] != bytes((0, 0, UNSIGNED_BYTES)) or len(raw) < 4 + 4 * raw[3]:
        raise DataError("is no IDX file of unsigned bytes", where=str(path), value=raw[:4])
    start = 4 + 4 * raw[3]
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    count = 1
    for side in shape:
        count *= side
    if len(raw) - start != count:
        raise DataError(f"holds {len(raw) - start} values, its head says {count}", where=str(path), value=shape)
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape).copy())
