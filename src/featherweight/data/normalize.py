"""Pixels as a network takes them: bytes stay in memory, floats are made batch by batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import DataError


@dataclass(frozen=True)
class Normalize:
    """(pixel / 255 - mean) / std for each channel.

    `mean` and `std` have one value a channel, in units of the full range of a pixel (0..1); std > 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise DataError(
                "mean and std need one value a channel, and std must be above 0",
                where="normalize",
                value=(self.mean, self.std),
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Images uint8 (n, h, w) or (n, c, h, w) as float32 (n, c, h, w).

        Raises: DataError when the number of channels is not that of `mean`.
        """
        images = images.unsqueeze(1) if images.dim() == 3 else images
        channels = images.shape[1]
        if channels != len(self.mean):
            raise DataError(f"mean and std are for {len(self.mean)} channels", where="normalize", value=channels)
        scale = torch.tensor([1 / (255 * std) for std in self.std])
        shift = torch.tensor([mean / std for mean, std in zip(self.mean, self.std, strict=True)])
        if channels == 1:
            return images.to(torch.float32).mul_(float(scale)).sub_(float(shift))
        return images.to(torch.float32).mul_(scale[:, None, None]).sub_(shift[:, None, None])

    @property
    def black(self) -> float:
        """The value of a black pixel of the first channel, as the background that augmentation fills in."""
        return -self.mean[0] / self.std[0]

    @classmethod
    def of(cls, images: Tensor) -> "Normalize":
        """Mean and standard deviation of images uint8 (n, h, w) or (n, c, h, w), a channel at a time."""
        images = images.unsqueeze(1) if images.dim() == 3 else images
        mean, std = [], []
        for channel in range(images.shape[1]):
            counts = torch.bincount(images[:, channel].reshape(-1).to(torch.int64), minlength=256).to(torch.float64)
            levels = torch.arange(256, dtype=torch.float64) / 255
            centre = float((counts * levels).sum() / counts.sum())
            mean.append(centre)
            std.append(float((counts * (levels - centre) ** 2).sum() / counts.sum()) ** 0.5 or 1.0)
        return cls(tuple(mean), tuple(std))
