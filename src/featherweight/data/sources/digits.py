"""The 1,797 digits of 8x8 pixels in scikit-learn (Alpaydin and Kaynak 1998): networks on them train in a second."""

from dataclasses import dataclass

import numpy as np
import torch

from featherweight.core.optional import need
from featherweight.data.base import Part, Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Lookup

TEST_SHARE = 5
LEVELS = 16  # of ink in a pixel; stretched to bytes


@dataclass(frozen=True, kw_only=True)
class Digits(Source):
    """1,437 training and 360 test digits (every fifth), images (n, 8, 8)."""

    mean: tuple[float, ...] = (0.3053,)  # of all images, 0..1
    std: tuple[float, ...] = (0.3760,)

    def parts(self, lookup: Lookup) -> Parts:
        """Training and test part. Raises: MissingExtraError without scikit-learn."""
        package = need("sklearn.datasets", extra="demo", purpose="the 8x8 digits")
        data = package.load_digits()
        stretched = np.rint(data.images * (255 / LEVELS))
        images = torch.from_numpy(np.ascontiguousarray(stretched, dtype=np.uint8))
        target = torch.from_numpy(np.ascontiguousarray(data.target, dtype=np.int64))
        test = torch.arange(len(target)) % TEST_SHARE == 0
        return Parts(
            train=Part(images[~test], target[~test]),
            test=Part(images[test], target[test]),
            transform=Normalize(self.mean, self.std),
            classes=tuple("0123456789"),
            origin="the 1,797 digits in the package scikit-learn",
        )
