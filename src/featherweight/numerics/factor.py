"""Low-rank factors of weights: of matrices, of convolution kernels, by response, and how many ranks to keep.

Everything is a function of tensors and calculates in double precision; factors come back in the type of what was
factored. A matrix is (m, n), a kernel (outputs n, inputs c, *places): the order of torch.
"""

import torch
from torch import Tensor

from featherweight.errors import UsageError
from featherweight.numerics._factor_automatic import evbmf
from featherweight.numerics._factor_clusters import Bicluster, Monochrome, bicluster, monochromatic
from featherweight.numerics._factor_cp import Cp, cp
from featherweight.numerics._factor_ranks import Ladder, energy_product, matrix_ladder, rank_of_energy, tucker_ladder
from featherweight.numerics._factor_response import Affine, by_response, nonlinear_response
from featherweight.numerics._factor_tucker import Tucker, spectra, tucker

__all__ = [
    "Affine",
    "Bicluster",
    "Cp",
    "Ladder",
    "Monochrome",
    "Tucker",
    "bicluster",
    "by_response",
    "cp",
    "energy_product",
    "evbmf",
    "matrix_ladder",
    "monochromatic",
    "nonlinear_response",
    "of_spatial",
    "rank_of_energy",
    "spatial",
    "spectra",
    "svd",
    "tucker",
    "tucker_ladder",
    "weighted_svd",
]


def svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest matrix of `rank`, as left (m, rank) times right (rank, n).

    What is lost is the sum of the squared singular values behind the first `rank` (Eckart and Young 1936). Both factors
    carry the square root of the singular values, so that neither has larger gradients when they are trained on.

    Raises: UsageError when the rank is not in 1..min(m, n).
    """
    _check(matrix, rank)
    left, values, right = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(matrix.dtype), (root[:, None] * right[:rank]).to(matrix.dtype)


def weighted_svd(matrix: Tensor, moment: Tensor, rank: int, ridge: float = 1e-6) -> tuple[Tensor, Tensor]:
    """The factors of `svd`, nearest in E|W x - left right x|^2 for inputs x with the second moment E[x x^T] (n, n).

    The moment is not centred: a mean belongs to what a layer's inputs are. `ridge` is added to its diagonal, times the
    mean of the diagonal. Denton et al. 2014, section 3.1.2 (the data covariance distance).

    Raises: UsageError when the rank is not in 1..min(m, n) or the moment is not (n, n).
    """
    _check(matrix, rank)
    size = matrix.shape[1]
    if moment.shape != (size, size):
        raise UsageError("the moment must be square, of the size of the inputs", value=tuple(moment.shape))
    wide = moment.detach().double()
    wide = wide + torch.eye(size, dtype=wide.dtype, device=wide.device) * (ridge * wide.diagonal().mean())
    lower = torch.linalg.cholesky(wide)
    left, values, right = torch.linalg.svd(matrix.detach().double() @ lower, full_matrices=False)
    root = values[:rank].sqrt()
    back = torch.linalg.solve_triangular(lower, right[:rank], upper=False, left=False)
    return (left[:, :rank] * root).to(matrix.dtype), (root[:, None] * back).to(matrix.dtype)


def spatial(kernel: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A kernel (n, c, a, b) as columns (rank, c, a, 1) and then rows (n, rank, 1, b).

    The closed form of Jaderberg, Vedaldi and Zisserman 2014: the matrix (c a, n b) is cut to `rank`.

    Raises: UsageError when the kernel has not two places, or the rank is not in 1..min(c a, n b).
    """
    outputs, inputs, tall, wide = _sizes(kernel)
    left, right = svd(of_spatial(kernel), rank)
    columns = left.reshape(inputs, tall, rank).permute(2, 0, 1).unsqueeze(3)
    rows = right.reshape(rank, outputs, wide).permute(1, 0, 2).unsqueeze(2)
    return columns.contiguous(), rows.contiguous()


def of_spatial(kernel: Tensor) -> Tensor:
    """The matrix (c a, n b) of a kernel (n, c, a, b), whose rank is what `spatial` cuts."""
    outputs, inputs, tall, wide = _sizes(kernel)
    return kernel.permute(1, 2, 0, 3).reshape(inputs * tall, outputs * wide)


def _sizes(kernel: Tensor) -> tuple[int, int, int, int]:
    if kernel.dim() != 4:
        raise UsageError("needs a kernel (outputs, inputs, height, width)", value=tuple(kernel.shape))
    outputs, inputs, tall, wide = kernel.shape
    return outputs, inputs, tall, wide


def _check(matrix: Tensor, rank: int) -> None:
    if matrix.dim() != 2 or not 1 <= rank <= min(matrix.shape):
        raise UsageError(
            "the rank must be in 1..min(m, n)", where=f"a matrix {tuple(matrix.shape)}", value=rank, fix="Ask for less."
        )
