"""Dictionary learning: a matrix as a few columns to choose from, and for each of its columns which of them, how much.

Notation: W (m, n) is about B A with B (m, k) atoms of length 1 and A (k, n) of at most K values a column. Sources:
Aharon, Elad, Bruckstein 2006 (IEEE Trans. Signal Processing 54, "K-SVD"); orthogonal matching pursuit: Pati, Rezaiifar,
Krishnaprasad 1993; one power step in the place of each atom's SVD: Rubinstein, Zibulevsky, Elad 2008.
"""

import torch
from torch import Tensor

from featherweight.errors import UsageError

_SMALL = 1e-12


def ksvd(
    matrix: Tensor, atoms: int, nonzeros: int, generator: torch.Generator, sweeps: int = 20
) -> tuple[Tensor, Tensor]:
    """B and A, float64; atoms begin as columns of the matrix drawn by `generator`.

    Raises: UsageError unless 1 <= nonzeros <= atoms <= n.
    """
    w = matrix.detach().double().cpu()
    if w.dim() != 2 or not 1 <= nonzeros <= atoms <= w.shape[1]:
        raise UsageError("needs 1 <= values a column <= atoms <= columns", value=(nonzeros, atoms, tuple(w.shape)))
    drawn = torch.randperm(w.shape[1], generator=generator)[:atoms]
    basis = _unit(w[:, drawn] + 1e-9 * torch.randn(w.shape[0], atoms, dtype=torch.float64, generator=generator))
    codes = pursuit(w, basis, nonzeros)
    for _ in range(sweeps):
        _renew(w, basis, codes)
        codes = pursuit(w, basis, nonzeros)
    return basis, codes


def pursuit(matrix: Tensor, basis: Tensor, nonzeros: int) -> Tensor:
    """A by orthogonal matching pursuit: each column takes the atom most like what is left, then all are fitted anew."""
    gram, target = basis.T @ basis, basis.T @ matrix
    columns = torch.arange(matrix.shape[1])
    chosen = torch.zeros(0, matrix.shape[1], dtype=torch.int64)
    codes = torch.zeros(basis.shape[1], matrix.shape[1], dtype=matrix.dtype)
    for _ in range(nonzeros):
        left = (target - gram @ codes).abs()
        left[chosen, columns] = -1.0
        chosen = torch.cat([chosen, left.argmax(0)[None]])
        places = chosen.T
        normal = gram[places[:, :, None], places[:, None, :]]
        normal = normal + _SMALL * torch.eye(len(chosen), dtype=matrix.dtype)
        values = torch.linalg.solve(normal, target.T.gather(1, places))
        codes = torch.zeros_like(codes).scatter_(0, chosen, values.T)
    return codes


def _renew(w: Tensor, basis: Tensor, codes: Tensor) -> None:
    """Each atom and its values, in place, as the best pair for what the others leave; an unused one starts anew."""
    rest = w - basis @ codes
    for atom in range(basis.shape[1]):
        users = codes[atom].nonzero()[:, 0]
        if not len(users):
            basis[:, atom] = _unit(rest[:, [int(rest.square().sum(0).argmax())]])[:, 0]
            continue
        own = rest[:, users] + basis[:, [atom]] * codes[atom, users]
        basis[:, atom] = _unit((own @ codes[atom, users])[:, None])[:, 0]
        codes[atom, users] = own.T @ basis[:, atom]
        rest[:, users] = own - basis[:, [atom]] * codes[atom, users]


def _unit(columns: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(columns, dim=0)
    return columns / lengths.clamp(min=_SMALL)
