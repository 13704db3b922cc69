"""What each input channel gives to the output of a layer, from moments alone.

Notation: X_i (N, spread) inputs of channel i of c, W_i (outputs, spread) its weights, Z (N * outputs, c) the matrix of
contributions with column i = vec(X_i W_i^T), y = vec(Y) the outputs to reach. Z with its N * outputs rows is never
built: all that is asked of it is Z^T Z and Z^T y. Since (Z^T Z)_ij = sum over taps a of i and b of j of
(X^T X)_ia,jb (W^T W)_ia,jb, it is the block-wise sum of a product element by element. Sources: He et al. 2017 (ICCV),
equations 1 and 2; Luo et al. 2017 (ICCV, "ThiNet"), equation 4, summed over the outputs instead of sampled.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from featherweight.errors import UsageError
from featherweight.numerics.least_squares import Moments


@dataclass(frozen=True)
class Contributions:
    """Means over all N * outputs rows of Z, float64.

    `gram` (c, c): Z^T Z. `correlation` (c,): Z^T y. `energy`: y^T y.
    """

    gram: Tensor
    correlation: Tensor
    energy: float

    @classmethod
    def of(cls, moments: Moments, weight: Tensor, spread: int, *, intercept: bool = False) -> Self:
        """Of a layer's weight, (outputs, columns) or (outputs, c, *taps), and its moments.

        With `intercept` an offset of each output costs nothing: contributions and outputs count around their means.

        Raises: UsageError when the shapes do not fit, or when there are no samples.
        """
        w = weight.detach().flatten(1).to(moments.xx.device, torch.float64)
        if w.shape != moments.xy.T.shape or spread < 1 or w.shape[1] % spread:
            expected = f"the weight must be {tuple(moments.xy.T.shape)} with {spread} columns a channel"
            raise UsageError(expected, value=tuple(weight.shape))
        rows = moments.count * w.shape[0]
        if not rows:
            raise UsageError("contributions need samples", value=rows, fix="Update the moments with data first.")
        channels = w.shape[1] // spread
        products = (w.T @ w).mul_(moments.gram(intercept=intercept))
        gram = products.view(channels, spread, channels, spread).sum(dim=(1, 3)) / rows
        reached = (w.T * moments.cross(intercept=intercept)).sum(1).view(channels, spread).sum(1) / rows
        return cls((gram + gram.T) / 2, reached, moments.energy(intercept=intercept) / rows)

    @classmethod
    def sampled(cls, parts: Tensor) -> Self:
        """Of a matrix A (rows, c) whose rows are sampled positions and outputs, and whose row sums are to be reached.

        ThiNet, section 3.2.1: the training examples of its selection.
        """
        a = parts.detach().double()
        gram = a.T @ a / len(a)
        return cls(gram, gram.sum(1), float(gram.sum()))

    def error(self, weights: Tensor) -> float:
        """||y - Z weights||^2, mean over the rows, for one weight a channel (c,)."""
        w = weights.to(self.gram)
        return max(0.0, self.energy + float(w @ (self.gram @ w - 2 * self.correlation)))
