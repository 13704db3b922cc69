"""How the weights of a tensor are distributed, and which values they share."""

import torch
from torch import Tensor

from featherweight.encodings.base import Encoding
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.report.story import Histogram

BINS = 61  # odd, so that zero has a bin of its own in a range around it


def histogram(name: str, weight: Tensor, encoding: Encoding | None = None) -> Histogram:
    """The distribution of the values of `weight` that are not zero; the centroids are those of `encoding`.

    The range is symmetric about zero and holds every value that is finite.
    """
    values = weight.detach().double().flatten()
    values = values[torch.isfinite(values)]
    kept = values[values != 0]
    shared = centroids(encoding) if encoding is not None else ()
    reach = max([float(kept.abs().max()) if len(kept) else 0.0, *(abs(value) for value, _ in shared)]) or 1.0
    counts = torch.histc(kept, bins=BINS, min=-reach, max=reach)
    return Histogram(name, -reach, reach, tuple(int(count) for count in counts), len(values) - len(kept), shared)


def centroids(encoding: Encoding) -> tuple[tuple[float, int], ...]:
    """The values that the weights share and how many weights share each, ascending; () where none are shared."""
    if isinstance(encoding, Sparse):
        return centroids(encoding.inner)
    if not isinstance(encoding, Codebook):
        return ()
    values = encoding.centroids.to_tensor().detach().double().flatten()
    members = torch.bincount(encoding.indices.flatten().long(), minlength=len(values))
    return tuple(sorted(zip(values.tolist(), members.tolist(), strict=True)))
