"""Random changes of training images, whole batches at once: shifts, flips, small affine and elastic distortions.

Images are float tensors (n, c, h, w). Every function draws from the `torch.Generator` (CPU) it is given: the same
generator state gives the same images. Each image of a batch gets its own draw.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from featherweight.errors import UsageError


def shift(images: Tensor, pixels: int, generator: torch.Generator, *, fill: float | None = None) -> Tensor:
    """Moves each image by -pixels..pixels in both directions (the random crop of CIFAR training with pixels = 4).

    What comes in from outside is `fill`, or the nearest border pixel where `fill` is None.
    """
    if pixels < 1:
        return images
    around = (pixels, pixels, pixels, pixels)
    if fill is None:
        padded = functional.pad(images, around, mode="replicate")
    else:
        padded = functional.pad(images, around, value=fill)
    height, width = images.shape[2:]
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, c, 2p+1, 2p+1, h, w), a view
    offsets = torch.randint(0, 2 * pixels + 1, (2, len(images)), generator=generator)
    return windows[torch.arange(len(images)), :, offsets[0], offsets[1]]


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability one half."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The usual changes of natural images: a shift, then a flip. An `augment` for a Task."""

    pixels: int = 4  # largest shift in pixels, >= 0
    flip: bool = True  # left to right, for one image in two
    fill: float | None = None  # value outside the image; default: its nearest border pixel

    def __call__(self, inputs: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Changes the first input, images (n, c, h, w); others stay."""
        images = shift(inputs[0], self.pixels, generator, fill=self.fill)
        return (flip(images, generator) if self.flip else images, *inputs[1:])


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Small affine and elastic distortions of hand-written digits. An `augment` for a Task.

    Elastic as in Simard, Steinkraus and Platt 2003, section 2: random displacements smoothed by a Gaussian. All
    changes of an image are joined into one bilinear resampling; border pixels are repeated outside.
    """

    degrees: float = 10.0  # largest rotation, 0..180
    scale: float = 0.1  # largest relative change of size, 0..1 (exclusive)
    shear: float = 0.1  # largest slant, in heights
    shift: float = 1.5  # largest shift, in pixels
    elastic: float = 0.0  # standard deviation of the elastic displacement, in pixels; 0: none
    smooth: float = 4.0  # standard deviation of the Gaussian that smooths displacements, in pixels, > 0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1 or self.smooth <= 0 or min(self.degrees, self.shift, self.elastic) < 0:
            raise UsageError(
                "distortions are at least 0, scale is below 1, smooth above 0", where="Distortion", value=self
            )

    def __call__(self, inputs: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Changes the first input, images (n, c, h, w); others stay."""
        images = inputs[0]
        grid = functional.affine_grid(self._matrices(images, generator), list(images.shape), align_corners=False)
        if self.elastic > 0:
            grid = grid + self._displacement(images, generator)
        grid = grid.to(images.device, images.dtype)
        moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (moved, *inputs[1:])

    def _matrices(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One affine map (2, 3) an image, from places in the result to places in the image, in -1..1 units."""
        count, _, height, width = images.shape
        draw = torch.rand(6, count, generator=generator) * 2 - 1
        angle = draw[0] * (self.degrees * torch.pi / 180)
        wide, high = 1 + self.scale * draw[1], 1 + self.scale * draw[2]
        cosine, sine, slant = angle.cos(), angle.sin(), self.shear * draw[3]
        first = torch.stack([cosine * wide, (slant * cosine - sine) * high, draw[4] * (2 * self.shift / width)], dim=1)
        second = torch.stack([sine * wide, (slant * sine + cosine) * high, draw[5] * (2 * self.shift / height)], dim=1)
        return torch.stack([first, second], dim=1)

    def _displacement(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Smooth displacements (n, h, w, 2) in -1..1 units."""
        height, width = images.shape[2:]
        rows, columns = _smooth_factor(height, self.smooth), _smooth_factor(width, self.smooth)
        noise = torch.randn(len(images) * 2, rows.shape[1], columns.shape[1], generator=generator)
        field = (rows @ noise @ columns.T).view(len(images), 2, height, width).permute(0, 2, 3, 1)
        return field * (self.elastic * torch.tensor([2 / width, 2 / height]))


@cache
def _smooth_factor(size: int, deviation: float) -> Tensor:
    """F (size, k) such that F @ noise is white noise smoothed by a Gaussian, with mean variance 1.

    Smoothing is the matrix G, so its result has covariance G G^T; the k largest eigenvectors hold 99.9 % of that.
    Few random numbers then do what size x size of them would.
    """
    places = torch.arange(size, dtype=torch.float64)
    around = torch.arange(-size, 2 * size, dtype=torch.float64)  # noise beyond the border reaches in
    gauss = torch.exp(-((places[:, None] - around[None, :]) ** 2) / (2 * deviation**2))
    values, vectors = torch.linalg.eigh(gauss @ gauss.T)
    values, vectors = values.flip(0), vectors.flip(1)
    kept = int((values.cumsum(0) / values.sum() < 0.999).sum()) + 1
    factor = vectors[:, :kept] * values[:kept].sqrt()
    unit: Tensor = factor / (factor.square().sum() / size).sqrt()
    return unit.to(torch.float32)
