"""A folder of images: train/<class>/*.png, test/<class>/*.png, or just <class>/*.png."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from featherweight.data.base import Part, Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Lookup
from featherweight.data.sources._images import decode
from featherweight.errors import DataError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"})
VALIDATION_NAMES = ("validation", "val", "valid")


@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """One folder a class, named by it, in folders `train`, `validation` and `test` or without them (all training)."""

    path: Path
    size: int | None = None  # pixels; short side scaled to it, centre cut square; default: all images are equally large
    gray: bool = False  # one channel instead of three
    mean: tuple[float, ...] | None = None  # a value a channel, 0..1; default: that of the training part
    std: tuple[float, ...] | None = None  # a value a channel, above 0; default: that of the training part

    def parts(self, lookup: Lookup) -> Parts:
        """The parts in the folder. Raises: DataError for no images, odd sizes or unknown classes."""
        training = self.path / "train" if (self.path / "train").is_dir() else self.path
        classes = tuple(sorted(item.name for item in _folders(training)))
        train = self._part(training, classes)
        own = Normalize.of(train.inputs)
        held = [self.path / name for name in VALIDATION_NAMES] if training != self.path else []
        test = self.path / "test" if training != self.path else None
        return Parts(
            train=train,
            validation=next((self._part(place, classes) for place in held if place.is_dir()), None),
            test=self._part(test, classes) if test is not None and test.is_dir() else None,
            transform=Normalize(self.mean or own.mean, self.std or own.std),
            classes=classes,
            origin=str(self.path),
        )

    def _part(self, place: Path, classes: tuple[str, ...]) -> Part:
        files, labels = [], []
        for folder in _folders(place):
            if folder.name not in classes:
                raise DataError("a class that the training part does not have", where=str(place), value=folder.name)
            images = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
            files += images
            labels += [classes.index(folder.name)] * len(images)
        if not files:
            fix = "Put images into <folder>/train/<class>/ and <folder>/test/<class>/, or into <folder>/<class>/."
            raise DataError("holds no images in folders of classes", where=str(place), value=sorted(ENDINGS), fix=fix)
        pixels = decode(
            [_opener(file) for file in files], "L" if self.gray else "RGB", where=str(place), size=self.size
        )
        return Part(torch.from_numpy(pixels), torch.tensor(labels))


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(item for item in place.iterdir() if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise DataError("the folder cannot be read", where=str(place), value=str(error)) from error


def _opener(file: Path) -> Callable[[], Path]:
    return lambda: file
