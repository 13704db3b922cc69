"""Examples seen through another set of examples: some of them, or all of them changed; nothing is copied."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from featherweight.core.examples import Batch, Examples
from featherweight.errors import DataError


class Subset:
    """The examples of `base` at `indices` (int64, shape (n,)), in that order."""

    def __init__(self, base: Examples, indices: Tensor) -> None:
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(base):
            worst = int(indices.max()) if int(indices.min()) >= 0 else int(indices.min())
            raise DataError(f"an index lies outside the {len(base)} examples", where="subset", value=worst)
        # a subset of a subset gathers once, not twice
        self.base: Examples = base.base if isinstance(base, Subset) else base
        self.indices: Tensor = base.indices[indices] if isinstance(base, Subset) else indices

    def __len__(self) -> int:
        return len(self.indices)

    def gather(self, indices: Tensor) -> Batch:
        """The examples at `indices` of this subset."""
        return self.base.gather(self.indices[indices])


class Mapped:
    """The examples of `base` with `change` applied to the inputs of each batch: tensors in, tensor or tuple out."""

    def __init__(self, base: Examples, change: Callable[..., Any]) -> None:
        self.base, self.change = base, change

    def __len__(self) -> int:
        return len(self.base)

    def gather(self, indices: Tensor) -> Batch:
        """The examples at `indices`, changed."""
        batch = self.base.gather(indices)
        changed = self.change(*batch.inputs)
        return Batch(tuple(changed) if isinstance(changed, tuple | list) else (changed,), batch.target)


def first(examples: Examples, count: int) -> Examples:
    """The first `count` examples, or all of them where there are fewer."""
    return examples if count >= len(examples) else Subset(examples, torch.arange(count))
