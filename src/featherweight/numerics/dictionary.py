"""Dictionary learning: a matrix as a few columns to choose from, and for each of its columns which of them, how much.

Notation: W (m, n) is about B A with B (m, k) atoms of length 1 and A (k, n) of at most K values a column. Sources:
Aharon, Elad, Bruckstein 2006 (IEEE Trans. Signal Processing 54, "K-SVD"), with its care for atoms that little depends
on; orthogonal matching pursuit, all columns at once by Cholesky factors, and power steps in the place of each atom's
SVD: Rubinstein, Zibulevsky, Elad 2008 ("Efficient implementation of the K-SVD algorithm using batch orthogonal
matching pursuit"). That every other start has half the values a column at first, and that a column keeps its atoms
until others serve it better, are our choice: both escape places where pursuit and atoms hold each other fast.
"""

from typing import Final

import torch
from torch import Tensor

from featherweight.errors import UsageError

_SMALL: Final = 1e-12
_POWER_STEPS: Final = 2  # from the atom as it is; more of them change no result that we have seen
_FEW_UNTIL: Final = 0.6  # of the sweeps of a start that begins with half the values
_RENEWED_UNTIL: Final = 0.7  # of the sweeps in which the least useful atom is replaced
_BLOCK: Final = 1 << 22  # numbers in the triangles of the columns that are coded at once


def ksvd(
    matrix: Tensor, atoms: int, nonzeros: int, generator: torch.Generator, sweeps: int = 20, starts: int = 1
) -> tuple[Tensor, Tensor]:
    """B and A, float64, of the best of some starts; atoms begin as columns of the matrix drawn by `generator`.

    The first start, and every second after it, has half the values a column at first. A sweep takes about
    2 n K k^2 operations for codes and 8 n K m for atoms.

    Raises: UsageError unless 1 <= nonzeros <= atoms <= n, and `starts` is at least 1.
    """
    w = matrix.detach().double().cpu()
    if w.dim() != 2 or not 1 <= nonzeros <= atoms <= w.shape[1]:
        raise UsageError("needs 1 <= values a column <= atoms <= columns", value=(nonzeros, atoms, tuple(w.shape)))
    if starts < 1:
        raise UsageError("needs at least one start", where="starts", value=starts)
    best: tuple[float, Tensor, Tensor] | None = None
    for start in range(starts):
        drawn = torch.randperm(w.shape[1], generator=generator)[:atoms]
        basis = _unit(w[:, drawn] + 1e-9 * torch.randn(w.shape[0], atoms, dtype=torch.float64, generator=generator))
        few = nonzeros if start % 2 else -(-nonzeros // 2)
        values = [few if at < _FEW_UNTIL * (sweeps - 1) else nonzeros for at in range(sweeps)]
        found = _learnt(w, basis, values, nonzeros)
        best = found if best is None or found[0] < best[0] else best
        if best[0] <= _SMALL * float(w.square().sum()):
            break
    return best[1:] if best is not None else (w, w)


def _learnt(w: Tensor, basis: Tensor, values: list[int], nonzeros: int) -> tuple[float, Tensor, Tensor]:
    """The squared error, B and A of the best sweep; `values` are those a column may have in each."""
    codes = pursuit(w, basis, values[0] if values else nonzeros)
    best = (float((w - basis @ codes).square().sum()), basis.clone(), codes)
    for at, count in enumerate(values):
        _renew(w, basis, codes)
        if at < _RENEWED_UNTIL * len(values):
            _replace_least(w, basis, codes)
        codes = _better(w, basis, codes, count)
        error = float((w - basis @ codes).square().sum())
        if error < best[0]:
            best = (error, basis.clone(), codes)
    return best


def pursuit(matrix: Tensor, basis: Tensor, nonzeros: int) -> Tensor:
    """A by orthogonal matching pursuit: each column takes the atom most like what is left, then all are fitted anew."""
    gram, target = basis.T @ basis, basis.T @ matrix
    size = max(1, _BLOCK // nonzeros**2)
    return torch.cat([_pursued(gram, part, nonzeros) for part in torch.split(target, size, 1)], 1)


def _pursued(gram: Tensor, target: Tensor, nonzeros: int) -> Tensor:
    """The same from products of atoms (k, k) and of atoms with columns (k, n).

    Row s of a column's `turned` (K, K) is the s-th atom less what those before it hold, by coefficients of the atoms.
    """
    count = target.shape[1]
    columns = torch.arange(count)
    chosen = torch.zeros(nonzeros, count, dtype=torch.int64)
    turned = target.new_zeros(count, nonzeros, nonzeros)
    taken = torch.zeros_like(target, dtype=torch.bool)
    codes, left = torch.zeros_like(target), target
    rough, wanted = gram.float(), target.float()  # enough to choose by, and half the time
    for step in range(nonzeros):
        atom = left.abs().masked_fill_(taken, -1.0).argmax(0)
        chosen[step], taken[atom, columns] = atom, True
        before = turned[:, :step, :step]
        held = before @ gram[chosen[:step], atom].T[:, :, None]  # of the atom, in the directions so far
        length = (gram[atom, atom] - held.square().sum((1, 2))).clamp(min=_SMALL).sqrt()[:, None]
        turned[:, step, :step] = -(held.mT @ before)[:, 0] / length
        turned[:, step, step] = 1 / length[:, 0]
        row, places = turned[:, step, : step + 1], chosen[: step + 1]
        along = (row * target.gather(0, places).T).sum(1, keepdim=True)
        codes.scatter_add_(0, places, (row * along).T)
        if step < nonzeros - 1:
            left = wanted - rough @ codes.float()
    return codes


def _better(w: Tensor, basis: Tensor, codes: Tensor, nonzeros: int) -> Tensor:
    """Codes by a new pursuit, but where a column was served better by the atoms that it had."""
    found = pursuit(w, basis, nonzeros)
    worse = (w - basis @ found).square().sum(0) > (w - basis @ codes).square().sum(0)
    return torch.where(worse, codes, found)


def _renew(w: Tensor, basis: Tensor, codes: Tensor) -> None:
    """Each atom and its values, in place, as the best pair for what the others leave."""
    rest = (w - basis @ codes).T.contiguous()  # rows are what lies together
    for atom in range(basis.shape[1]):
        users = codes[atom].nonzero()[:, 0]
        if not len(users):
            continue
        own = torch.addr(rest[users], codes[atom, users], basis[:, atom])
        direction = basis[:, atom]
        for _ in range(_POWER_STEPS):
            direction = _unit(((own @ direction) @ own)[:, None])[:, 0]
        values = own @ direction
        basis[:, atom], codes[atom, users] = direction, values
        rest[users] = torch.addr(own, values, direction, alpha=-1)


def _replace_least(w: Tensor, basis: Tensor, codes: Tensor) -> None:
    """The atom that least is lost with, and all that nothing uses, become columns that are served worst, in place.

    What is lost is about its values' energy, as far as no other atom has its direction.
    """
    alike = (basis.T @ basis).fill_diagonal_(0).square().max(0).values if basis.shape[1] > 1 else torch.zeros(1)
    lost = codes.square().sum(1) * (1 - alike).clamp(min=1e-6)
    errors = (w - basis @ codes).square().sum(0)
    unused = int((lost == 0).sum())
    for atom in lost.argsort()[: min(max(1, unused), w.shape[1])].tolist():
        worst = int(errors.argmax())
        if errors[worst] <= _SMALL * float(w.square().sum()):
            return
        basis[:, atom], codes[atom] = _unit(w[:, [worst]])[:, 0], 0
        errors[worst] = 0


def _unit(columns: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(columns, dim=0)
    return columns / lengths.clamp(min=_SMALL)
