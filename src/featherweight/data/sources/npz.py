"""A NumPy archive of the user's own: arrays x_train, y_train, x_test, y_test (or JPEG streams)."""

from dataclasses import dataclass
from pathlib import Path

import torch

from featherweight.data.base import Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Lookup
from featherweight.data.sources._npz import read_npz


@dataclass(frozen=True, kw_only=True)
class Npz(Source):
    """Parts from an .npz file. Images uint8 are normalised per channel, by default to their own mean and deviation."""

    path: Path
    mean: tuple[float, ...] | None = None  # a value a channel, 0..1; default: that of the training part
    std: tuple[float, ...] | None = None  # a value a channel, above 0; default: that of the training part

    def parts(self, lookup: Lookup) -> Parts:
        """The parts that the file has. Raises: DataError."""
        parts = read_npz(self.path)
        inputs = next(iter(parts.values())).inputs
        transform = None
        if inputs.dtype == torch.uint8:
            own = Normalize.of(inputs)
            transform = Normalize(self.mean or own.mean, self.std or own.std)
        return Parts(
            train=parts.get("train"),
            validation=parts.get("validation"),
            test=parts.get("test"),
            transform=transform,
            origin=str(self.path),
        )
