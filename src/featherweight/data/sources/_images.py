"""Image files and streams to bytes of pixels, by Pillow in a pool of threads, kept decoded in the user cache."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.core.atomic import replacing
from featherweight.core.optional import need
from featherweight.data.places import cache_folder
from featherweight.errors import DataError, StorageError

Pixels = NDArray[np.uint8]


class Jpegs:
    """JPEG streams laid end to end: image i is `data[offset[i]:offset[i + 1]]`.

    `data` is uint8 (bytes,), `offset` integers (n + 1,) that rise from 0 to the number of bytes.

    Raises: DataError when they do not.
    """

    def __init__(self, data: NDArray[np.generic], offset: NDArray[np.generic], *, where: str) -> None:
        bounds = np.asarray(offset)
        fits = data.dtype == np.uint8 and data.ndim == 1 and bounds.dtype.kind in "iu" and bounds.ndim == 1
        if not fits or len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(data) or np.any(np.diff(bounds) <= 0):
            raise DataError(
                "offsets of JPEG streams must rise from 0 to the number of bytes (uint8)",
                where=where,
                value=f"{data.dtype} {data.shape}, offsets {bounds.shape}",
            )
        self.data, self.offset, self.where = np.ascontiguousarray(data), bounds.astype(np.int64), where

    def __len__(self) -> int:
        return len(self.offset) - 1

    def decoded(self) -> Tensor:
        """All images, uint8 (n, 3, h, w); read from the user cache where they lie there already."""
        place = cache_folder() / "decoded" / f"{self._digest()}.npy"
        kept = _kept(place)
        if kept is None:
            kept = decode([self._stream(index) for index in range(len(self))], "RGB", where=self.where)
            _keep(place, kept)
        return torch.from_numpy(kept)

    def _stream(self, index: int) -> Callable[[], io.BytesIO]:
        first, last = int(self.offset[index]), int(self.offset[index + 1])
        return lambda: io.BytesIO(self.data[first:last].tobytes())

    def _digest(self) -> str:
        digest = hashlib.blake2b(self.data.data, digest_size=16)
        digest.update(self.offset.tobytes())
        return digest.hexdigest()


def decode(
    openers: Sequence[Callable[[], Path | io.BytesIO]], mode: str, *, where: str, size: int | None = None
) -> Pixels:
    """Images as uint8 (n, c, h, w); `mode` is Pillow's "RGB" (c = 3) or "L" (c = 1).

    With `size`, the short side is scaled to it and the centre is cut out square; without, all must be equally large.

    Raises: DataError naming the first image that cannot be read or differs in size; MissingExtraError.
    """
    pillow = need("PIL.Image", extra="images", purpose="reading images")

    def one(index: int) -> Pixels:
        try:
            with pillow.open(openers[index]()) as image:
                return _pixels(image.convert(mode), size, pillow)
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise DataError("an image cannot be read", where=f"{where}, image {index}", value=str(error)) from error

    head = one(0)
    pixels = np.empty((len(openers), *head.shape), dtype=np.uint8)

    def place(index: int) -> None:
        image = one(index)
        if image.shape != head.shape:
            size_words = f"an image is not {head.shape[2]}x{head.shape[1]} like the first"
            fix = "Give size=... to scale and cut them all."
            raise DataError(size_words, where=f"{where}, image {index}", value=image.shape[:0:-1], fix=fix)
        pixels[index] = image

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(place, range(len(openers)), chunksize=64):
            pass
    return pixels


def _pixels(image: Any, size: int | None, pillow: Any) -> Pixels:
    if size is not None:
        scale = size / min(image.size)
        wide, high = (max(size, round(side * scale)) for side in image.size)
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.resize((wide, high), pillow.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _kept(place: Path) -> Pixels | None:
    try:
        array = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent, torn or foreign: decode again
        return None
    return array if array.dtype == np.uint8 and array.ndim == 4 else None


def _keep(place: Path, pixels: Pixels) -> None:
    """Keeps the decoded images where that is allowed: without a cache they are decoded again next time."""
    with contextlib.suppress(OSError, StorageError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place, size=pixels.nbytes) as file:
            np.save(file, pixels, allow_pickle=False)
