"""Tucker-2: a kernel (n, c, *places) as a core (R_o, R_i, *places) between two matrices of orthonormal columns.

Y.-D. Kim et al. 2016 (ICLR, "Compression of deep convolutional neural networks for fast and low power mobile
applications"), section 3.1: the two channel axes only. The start is the higher-order SVD, improved by higher-order
orthogonal iteration (L. De Lathauwer, B. De Moor, J. Vandewalle 2000).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import UsageError

_ENOUGH = 1e-6  # relative growth of the core's energy in a sweep below which sweeping ends


@dataclass(frozen=True)
class Tucker:
    """kernel[o, i] ~ sum of outputs[o, a] core[a, b] inputs[i, b] over a, b.

    core (R_o, R_i, *places), outputs (n, R_o), inputs (c, R_i).
    """

    core: Tensor
    outputs: Tensor
    inputs: Tensor

    def kernel(self) -> Tensor:
        """The kernel (n, c, *places) that the factors stand for."""
        half = torch.tensordot(self.outputs, self.core, dims=([1], [0]))
        kernel: Tensor = torch.tensordot(half, self.inputs, dims=([1], [1])).movedim(-1, 1)
        return kernel


def tucker(kernel: Tensor, ranks: tuple[int, int], sweeps: int = 25) -> Tucker:
    """The factors for `ranks` (R_o, R_i) after at most `sweeps` of improvement; 0 leaves the higher-order SVD.

    |kernel - approximation|^2 = |kernel|^2 - |core|^2.

    Raises: UsageError when the ranks are not in 1..n and 1..c.
    """
    sizes = tuple(kernel.shape[:2])
    if kernel.dim() < 2 or not all(1 <= rank <= size for rank, size in zip(ranks, sizes, strict=True)):
        raise UsageError("ranks must be within the channels", where=f"a kernel {tuple(kernel.shape)}", value=ranks)
    wide = kernel.detach().double().reshape(*sizes, -1)
    outputs = _leading(wide.flatten(1), ranks[0])
    inputs = _leading(wide.transpose(0, 1).flatten(1), ranks[1])
    energy = 0.0
    for _ in range(sweeps):
        outputs = _leading(_onto(wide, 1, inputs).flatten(1), ranks[0])
        half = _onto(wide, 0, outputs)
        inputs = _leading(half.transpose(0, 1).flatten(1), ranks[1])
        now = float(_onto(half, 1, inputs).square().sum())
        if now - energy <= _ENOUGH * now:
            break
        energy = now
    core = _onto(_onto(wide, 0, outputs), 1, inputs).reshape(*ranks, *kernel.shape[2:])
    return Tucker(core.to(kernel.dtype), outputs.to(kernel.dtype), inputs.to(kernel.dtype))


def spectra(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The squared singular values of the unfoldings by output (n of them) and by input (c), largest first, double."""
    wide = kernel.detach().double()
    found = (_gram(wide.flatten(1)), _gram(wide.transpose(0, 1).flatten(1)))
    first, second = (torch.linalg.eigvalsh(gram).flip(0).clamp(min=0) for gram in found)
    return first, second


def _onto(wide: Tensor, axis: int, basis: Tensor) -> Tensor:
    """The tensor with one channel axis expressed in a basis (size, rank)."""
    turned: Tensor = torch.tensordot(wide, basis, dims=([axis], [0])).movedim(-1, axis)
    return turned


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The first left singular vectors, in columns. The Gram matrix is small, and only the space counts here."""
    vectors: Tensor = torch.linalg.eigh(_gram(matrix)).eigenvectors
    return vectors.flip(1)[:, :rank]


def _gram(matrix: Tensor) -> Tensor:
    return matrix @ matrix.T
