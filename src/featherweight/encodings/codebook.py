"""Codebook: each weight is one of K shared values and keeps only the number of its value.

In the file: one field, K (1..65536; 0 only for a tensor without weights). Then one stream of numbers below K (row-
major) and one child, the values, shape (K,). Song Han et al., "Deep Compression", ICLR 2016, section 3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from featherweight.encodings._clusters import Clusters
from featherweight.encodings.base import Encoding, Layout, Packed, Shape
from featherweight.encodings.dense import Dense
from featherweight.entropy.base import ALONE, Stream, Work
from featherweight.errors import EncodingError, FormatError

MAX_CENTROIDS = 1 << 16

_CHUNK = 1 << 20  # weights assigned at a time


@dataclass(frozen=True, eq=False)
class Codebook(Encoding):
    """Shared values: weight = centroids[indices].

    `indices` are integers of the tensor's shape, 0..K-1, kept in the smallest type that holds them; `centroids` has
    shape (K,) and is an encoding itself or a tensor that becomes a Dense one. Neither is copied where it fits.

    Raises: EncodingError for K outside 1..65536 (0 for a tensor without weights) or an index outside 0..K-1.
    """

    indices: Tensor
    centroids: Encoding
    clusters: Clusters = field(init=False, repr=False)

    code: ClassVar[int] = 2
    field_count: ClassVar[int] = 1

    def __init__(self, indices: Tensor, centroids: Encoding | Tensor) -> None:
        child = Dense(centroids) if isinstance(centroids, Tensor) else centroids
        if len(child.shape) != 1 or not _allowed(child.shape[0], indices.numel()):
            raise EncodingError(
                f"a codebook has 1 to {MAX_CENTROIDS} values, shape (K,)",
                value=child.shape,
                fix="Use fewer centroids, or Dense.",
            )
        count = child.shape[0]
        low, high = (0, 0) if indices.numel() == 0 else (int(item) for item in indices.aminmax())
        if indices.numel() and not 0 <= low <= high < count:
            raise EncodingError(f"an index outside 0..{count - 1}", value=f"{low}..{high}")
        self._set(indices.detach().to(_index_type(count)), child)

    def _set(self, indices: Tensor, centroids: Encoding) -> None:
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "centroids", centroids)
        object.__setattr__(self, "clusters", Clusters(indices, centroids.shape[0]))

    @classmethod
    def of(cls, weight: Tensor, centroids: Encoding | Tensor) -> "Codebook":
        """Each weight by its nearest centroid, the smaller of two that are equally near.

        Raises: EncodingError for a weight or centroid that is no number.
        """
        child = Dense(centroids) if isinstance(centroids, Tensor) else centroids
        values, order = child.to_tensor().detach().double().sort()
        if not bool(torch.isfinite(values).all()) or not bool(torch.isfinite(weight.detach()).all()):
            raise EncodingError("weights and centroids must be numbers", value="NaN or infinity")
        borders = (values[1:] + values[:-1]) / 2
        flat = weight.detach().reshape(-1)
        indices = torch.empty(flat.shape, dtype=_index_type(len(values)), device=flat.device)
        for out, part in zip(torch.split(indices, _CHUNK), torch.split(flat, _CHUNK), strict=True):
            out.copy_(order[torch.bucketize(part.double(), borders)])
        return cls(indices.reshape(weight.shape), child)

    @classmethod
    def from_tensor(cls, weight: Tensor) -> "Codebook":
        """The different values of `weight` as centroids. Raises: EncodingError for more than 65536 of them."""
        return cls.of(weight, torch.unique(weight.detach()))

    @property
    def shape(self) -> Shape:
        """See Encoding."""
        return tuple(self.indices.shape)

    @property
    def dtype(self) -> torch.dtype:
        """See Encoding."""
        return self.centroids.dtype

    def to_tensor(self) -> Tensor:
        """centroids[indices]; the gradient of a centroid is the sum over its weights."""
        return self.clusters.spread(self.centroids.to_tensor())

    def gradient(self, gradient: Tensor) -> Tensor:
        """The sum over each cluster, given to all of its members, so that they take the same step."""
        sums = self.clusters.sums(gradient).to(gradient.dtype)
        return self.clusters.spread(self.centroids.gradient(sums))

    def project(self, weight: Tensor) -> Tensor:
        """The mean of each cluster, for all of its members; nothing changes where they are equal already."""
        return self.clusters.spread(self.centroids.project(self.clusters.means(weight)))

    def updated(self, weight: Tensor) -> "Codebook":
        """The same clusters, with their means as values; values that no weight uses stay."""
        means = self.clusters.means(weight)
        old = self.centroids.to_tensor().detach().to(means)
        used = self.clusters.sizes.to(means.device) > 0
        changed = Codebook(self.indices, self.centroids.updated(torch.where(used, means, old)))
        object.__setattr__(changed, "clusters", self.clusters)  # what it has counted already holds still
        return changed

    def state(self) -> dict[str, Tensor]:
        """The indices and the state of the centroids."""
        inner = {f"centroids.{name}": item for name, item in self.centroids.state().items()}
        return {"indices": self.indices, **inner}

    def restored(self, state: Mapping[str, Tensor]) -> "Codebook":
        """See Encoding."""
        prefix = "centroids."
        inner = {name.removeprefix(prefix): item for name, item in state.items() if name.startswith(prefix)}
        return Codebook(state["indices"], self.centroids.restored(inner))

    @property
    def finite(self) -> bool:
        """See Encoding."""
        return self.centroids.finite

    def is_finite(self, work: Work = ALONE) -> bool:
        """See Encoding."""
        return self.centroids.is_finite(work)

    def decoded(self, work: Work = ALONE) -> Tensor:
        """See Encoding."""
        return self.clusters.spread(self.centroids.decoded(work), work)

    def pack(self, form: int | None = None) -> Packed:
        """See Encoding. The only form is K."""
        count = self.clusters.count
        if form not in (None, count):
            raise EncodingError(f"the form of this codebook is {count}", value=form)
        flat = self.indices.reshape(-1).cpu().numpy()
        return Packed((count,), (flat.view(f"u{flat.itemsize}"),), (self.centroids,))

    @classmethod
    def layout(cls, shape: Shape, fields: Sequence[int]) -> Layout:
        """See Encoding. Raises: FormatError (E_COUNT)."""
        count, weights = fields[0], math.prod(shape)
        if not _allowed(count, weights):
            raise FormatError("E_COUNT", f"a codebook has 1 to {MAX_CENTROIDS} values", value=count)
        return Layout((Stream(weights, max(count, 1), shape),), ((count,),))

    @classmethod
    def unpack(cls, shape: Shape, packed: Packed, work: Work = ALONE) -> "Codebook":
        """See Encoding. Raises: FormatError (E_INDEX)."""
        count, symbols = packed.fields[0], np.require(packed.streams[0], requirements="W")
        small = _index_type(count)
        same = symbols.itemsize == small.itemsize
        indices = symbols if same else np.empty(symbols.shape, f"u{small.itemsize}")
        for start in range(0, len(symbols), _CHUNK):
            work.check()
            part = symbols[start : start + _CHUNK]
            if int(part.max()) >= count:
                raise FormatError("E_INDEX", f"an index outside 0..{count - 1}", value=int(part.max()))
            if not same:
                indices[start : start + _CHUNK] = part
        made = object.__new__(cls)  # all that __init__ checks has been checked, piece by piece
        made._set(torch.from_numpy(indices.view(f"{_KINDS[small]}{small.itemsize}")).reshape(shape), packed.children[0])
        return made

    @classmethod
    def describe(cls, fields: Sequence[int]) -> str:
        """See Encoding: how many values."""
        return f"codebook {fields[0]}"


_KINDS = {torch.uint8: "u", torch.int16: "i", torch.int32: "i"}


def _allowed(count: int, weights: int) -> bool:
    return min(weights, 1) <= count <= MAX_CENTROIDS


def _index_type(count: int) -> torch.dtype:
    """The smallest type of torch that holds 0..count-1 and that its kernels take."""
    if count <= 1 << 8:
        return torch.uint8
    return torch.int16 if count <= 1 << 15 else torch.int32
