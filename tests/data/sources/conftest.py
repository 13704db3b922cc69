"""Small sets in the published forms, made of numbers that can be recognised."""

import gzip
import struct

import numpy as np
import pytest

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array):
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def digits_like():
    """Arrays by IDX name: 30 training and 6 test images of 28x28, labels 0..9."""
    random = np.random.default_rng(0)
    images = {
        name: random.integers(0, 256, (count, 28, 28)) for name, count in zip(IDX_NAMES[::2], (30, 6), strict=True)
    }
    labels = {name: np.arange(count) % 10 for name, count in zip(IDX_NAMES[1::2], (30, 6), strict=True)}
    return images | labels


@pytest.fixture
def write_idx(digits_like):
    """Writes the four files into a folder, packed or not."""

    def write(folder, *, packed):
        folder.mkdir(parents=True)
        for name, array in digits_like.items():
            data = idx_bytes(array)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)

    return write
