"""Examples with random access: what every data source gives and every training loop takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import default_collate

from featherweight.errors import DataError


class Batch(NamedTuple):
    """`inputs` are the positional arguments of the model, each with the batch in front; `target` fits the loss."""

    inputs: tuple[Any, ...]
    target: Any


@runtime_checkable
class Examples(Protocol):
    """A finite set of examples that can be gathered in any order."""

    def __len__(self) -> int: ...

    def gather(self, indices: Tensor) -> Batch:
        """The examples at `indices` (int64, shape (n,)) as one batch."""
        ...


class TensorExamples:
    """Examples held in memory: one tensor (or several) of inputs and one of targets, equally long.

    `transform` is applied to the gathered inputs (for example: uint8 images to normalised floats).
    """

    def __init__(
        self,
        inputs: Tensor | Sequence[Tensor],
        target: Tensor,
        transform: Callable[..., Tensor | tuple[Tensor, ...]] | None = None,
    ) -> None:
        self.inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        self.target, self.transform = target, transform
        lengths = [len(part) for part in (*self.inputs, target)]
        if len(set(lengths)) != 1:
            raise DataError("inputs and targets differ in length", value=lengths)

    def __len__(self) -> int:
        return len(self.target)

    def gather(self, indices: Tensor) -> Batch:
        """The examples at `indices`, transformed."""
        inputs = tuple(part[indices] for part in self.inputs)
        if self.transform is not None:
            changed = self.transform(*inputs)
            inputs = (changed,) if isinstance(changed, Tensor) else tuple(changed)
        return Batch(inputs, self.target[indices])


class DatasetExamples:
    """A map-style `torch.utils.data.Dataset` whose items are (input, target) or (input, input, ..., target)."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, indices: Tensor) -> Batch:
        """The items at `indices`, collated."""
        *inputs, target = default_collate([self.dataset[int(index)] for index in indices])
        return Batch(tuple(inputs), target)


def as_examples(source: Any, *, where: str = "data") -> Examples:
    """`source` as Examples: Examples themselves, a tuple (inputs, ..., target) of tensors, a Dataset or a DataLoader.

    Raises: DataError when it is none of them or empty.
    """
    source = getattr(source, "dataset", source) if type(source).__name__ == "DataLoader" else source
    examples = _recognised(source)
    if examples is None:
        raise DataError(
            "cannot be read as examples",
            where=where,
            value=type(source).__name__,
            fix="Give (inputs, targets) tensors, a map-style Dataset, a DataLoader or an object with gather().",
        )
    if len(examples) == 0:
        raise DataError("holds no examples", where=where, value=0, fix="Give at least one.")
    return examples


def _recognised(source: Any) -> Examples | None:
    """`source` as Examples, if it is something like them.

    Text, mappings and tensors give items by number too, and a tensor even has a gather(), but not of (input, target).
    """
    if isinstance(source, str | bytes | Mapping | Tensor):
        return None
    if isinstance(source, Examples):
        return source
    if isinstance(source, tuple | list) and any(isinstance(part, Tensor) for part in source):
        whole = len(source) >= 2 and all(isinstance(part, Tensor) for part in source)
        return TensorExamples(source[:-1], source[-1]) if whole else None
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return DatasetExamples(source)
    return None


def batches(examples: Examples, size: int, order: Tensor | None = None) -> Iterator[Batch]:
    """Batches of at most `size` examples, in the given order of indices (default: as they stand)."""
    indices = torch.arange(len(examples)) if order is None else order
    for start in range(0, len(indices), size):
        yield examples.gather(indices[start : start + size])
