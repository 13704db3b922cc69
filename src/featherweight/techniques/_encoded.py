"""What pruning, sharing and rounding make of the encoding that a tensor already has, so that they combine."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import TechniqueError

_PIECE = 1 << 20  # indices that are made wide enough to index with at a time


@dataclass(frozen=True)
class Survivors:
    """What is kept of a tensor: where (None: everywhere) and as which values.

    `values` has the shape of the tensor, or (n,) in row-major order when there is a mask. `stored` is the precision
    of the values in the file.
    """

    mask: Tensor | None
    values: Tensor
    stored: torch.dtype


def mask_of(encoding: Encoding | None, weight: Tensor) -> Tensor:
    """The bool mask (shape of the weight) of the weights that are not pruned."""
    if isinstance(encoding, Sparse):
        return encoding.mask
    return torch.ones(weight.shape, dtype=torch.bool, device=weight.device)


def survivors_of(name: str, encoding: Encoding | None, weight: Tensor) -> Survivors:
    """The values that the weight keeps under its encoding, whatever shared or rounded them.

    Raises: TechniqueError for an encoding that keeps something else than values.
    """
    weight = weight.detach()
    if isinstance(encoding, Sparse):
        return Survivors(encoding.mask, weight[encoding.mask], _stored(name, encoding.inner))
    return Survivors(None, weight, weight.dtype if encoding is None else _stored(name, encoding))


def pruned(name: str, encoding: Encoding | None, weight: Tensor, mask: Tensor) -> Sparse:
    """The weight under the mask as well (True: kept); values that were shared or rounded stay so.

    Raises: TechniqueError for an encoding that cannot be taken apart by position.
    """
    if encoding is None:
        return Sparse.of(weight.detach(), mask)
    if isinstance(encoding, Sparse):
        both = mask & encoding.mask
        return Sparse(both, _part(name, encoding.inner, both[encoding.mask]))
    return Sparse(mask, _part(name, encoding, mask))


def shared(survivors: Survivors, indices: Tensor, centroids: Tensor) -> Encoding:
    """The survivors as indices into centroids (shape (k,)); centroids that nothing uses or that are equal are merged.

    `indices` has the shape of `survivors.values`.
    """
    used = torch.zeros(len(centroids), dtype=torch.bool, device=indices.device)
    for part in _pieces(indices):
        used[part] = True
    merged, place = torch.unique(centroids[used], return_inverse=True)
    if len(merged) < len(centroids) or not torch.equal(merged, centroids):
        moved = torch.zeros(len(centroids), dtype=indices.dtype, device=indices.device)
        moved[used] = place.to(indices.dtype)
        indices = torch.cat([moved[part] for part in _pieces(indices)]).reshape(indices.shape)
    codebook = Codebook(indices, Dense(merged, survivors.stored))
    return codebook if survivors.mask is None else Sparse(survivors.mask, codebook)


def narrowed(name: str, encoding: Encoding | None, weight: Tensor, stored: torch.dtype) -> Encoding:
    """The same structure with its free values (weights, survivors, centroids) kept in `stored`.

    Raises: TechniqueError for an encoding whose values cannot be reached.
    """
    if encoding is None:
        return Dense(weight.detach().clone(), stored)
    if isinstance(encoding, Sparse):
        return Sparse(encoding.mask, narrowed(name, encoding.inner, weight, stored))
    if isinstance(encoding, Codebook):
        return Codebook(encoding.indices, Dense(encoding.centroids.to_tensor().detach(), stored))
    if isinstance(encoding, Dense):
        return Dense(encoding.to_tensor().detach(), stored)
    if isinstance(encoding, Uniform):
        return _with_narrow_step(encoding, stored)
    raise _unknown(name, encoding)


def _pieces(indices: Tensor) -> Iterator[Tensor]:
    """The indices in row-major order and in a type that torch indexes with, some at a time."""
    flat = indices.flatten()
    yield from (flat[first : first + _PIECE].int() for first in range(0, max(len(flat), 1), _PIECE))


def _part(name: str, encoding: Encoding, kept: Tensor) -> Encoding:
    """The elements of an encoding where `kept` (bool, its shape) is True, as an encoding of shape (n,)."""
    if isinstance(encoding, Dense):
        return Dense(encoding.to_tensor().detach()[kept], encoding.stored)
    if isinstance(encoding, Codebook):
        return Codebook(encoding.indices[kept], encoding.centroids)
    if isinstance(encoding, Uniform) and not encoding.dependent and encoding.step.shape == (1,):
        return Uniform(encoding.levels[kept], encoding.step)
    raise _unknown(name, encoding)


def _with_narrow_step(encoding: Uniform, stored: torch.dtype) -> Uniform:
    """The same levels; the step in `stored`, unless it has as few bits already or does not fit into its range."""
    step = encoding.step.to_tensor().detach()
    kept = step.to(stored)
    fits = bool((torch.isfinite(kept) & (kept > 0)).all())
    if not fits or not isinstance(encoding.step, Dense) or (encoding.step.stored or step.dtype).itemsize <= 2:
        return encoding
    return Uniform(encoding.levels, Dense(step, stored), encoding.dependent)


def _stored(name: str, encoding: Encoding) -> torch.dtype:
    if isinstance(encoding, Dense):
        return encoding.stored or encoding.dtype
    if isinstance(encoding, Codebook):
        return _stored(name, encoding.centroids)
    if isinstance(encoding, Uniform):
        return encoding.dtype
    raise _unknown(name, encoding)


def _unknown(name: str, encoding: Encoding) -> TechniqueError:
    return TechniqueError(
        "cannot be combined with the way this tensor is kept already",
        where=name,
        value=type(encoding).__name__,
        fix="Leave the tensor out with a pattern, or put this step first.",
    )
