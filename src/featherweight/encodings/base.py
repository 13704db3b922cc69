"""The interface of an encoding: how one weight tensor is kept, in training and in the file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from featherweight.entropy.base import ALONE, Stream, Symbols, Work

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """An encoding as the container keeps it: a few unsigned integers, streams of symbols, nested encodings.

    A reader knows shape and `fields` first; from them `Encoding.layout` says what streams and children follow. The
    first field is the form: `Encoding.pack` gives the same again when told its number.
    """

    fields: tuple[int, ...]
    streams: tuple[Symbols, ...]
    children: tuple["Encoding", ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What follows the fields of an encoding: its streams, and the shapes of its children."""

    streams: tuple[Stream, ...]
    children: tuple[Shape, ...]
    itemsize: int = 0  # bytes of one weight of `to_tensor()`; 0: the same as those of the last child
    dtype: torch.dtype | None = None  # of `to_tensor()`; None: that of the last child


class Encoding(ABC):
    """How one weight tensor is kept. Immutable; also the constraint that training respects (training/constraints.py).

    Subclasses are found by file name. `code` is the number of the encoding in the file and is never reused.
    """

    code: ClassVar[int]
    field_count: ClassVar[int]  # how many unsigned integers `Packed.fields` has
    worth: ClassVar[float] = 1 / 128  # of a long stream that coding must save: what is copied is read much faster

    @classmethod
    @abstractmethod
    def from_tensor(cls, weight: Tensor) -> "Encoding":
        """An encoding of this kind that keeps `weight`, exactly where the kind can.

        Raises: EncodingError for a tensor that this kind cannot keep.
        """

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of the tensor that is kept."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of the tensor that `to_tensor` gives."""

    @abstractmethod
    def to_tensor(self) -> Tensor:
        """The tensor that is kept: the reference for every kernel and reader. Differentiable in the stored values."""

    # training ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of the stored values, spread back over the weights: see Constraint.gradient."""

    @abstractmethod
    def project(self, weight: Tensor) -> Tensor:
        """The nearest weight with this structure: see Constraint.project."""

    @abstractmethod
    def updated(self, weight: Tensor) -> "Encoding":
        """The same structure with the values of `weight`: see Constraint.updated."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restored` makes an equal encoding."""

    @abstractmethod
    def restored(self, state: Mapping[str, Tensor]) -> "Encoding":
        """An encoding of this kind with the structure in `state`."""

    # file --------------------------------------------------------------------------------------------------------

    def forms(self) -> Sequence[int]:
        """The forms that may be the smallest, likeliest first; a writer measures them and keeps the smallest.

        Forms differ in fields and streams; the children are the same in all.
        """
        return (self.pack().fields[0],)

    @abstractmethod
    def pack(self, form: int | None = None) -> Packed:
        """Fields, streams and children for the file, in the given form (a number that begins `Packed.fields`).

        None takes the form that is likely to be the smallest. Raises: EncodingError for a form that this tensor does
        not have, or for values that the file cannot hold.
        """

    @classmethod
    @abstractmethod
    def layout(cls, shape: Shape, fields: Sequence[int]) -> Layout:
        """What follows `fields` for a tensor of `shape`. Costs O(1) and allocates nothing of the tensor's size.

        Raises: FormatError for fields that no tensor of this shape has.
        """

    @classmethod
    @abstractmethod
    def unpack(cls, shape: Shape, packed: Packed, work: Work = ALONE) -> "Encoding":
        """The encoding that `pack` turned into `packed`; packing it again with the same form gives the same.

        `work.check` is called at least every 2^20 weights and may raise. The result may lie in the memory of the
        streams, which nothing else may write to any more.

        Raises: FormatError for streams that `pack` cannot have given.
        """

    @property
    def finite(self) -> bool:
        """Whether all stored values are numbers: no NaN and no infinity, used or not."""
        return bool(torch.isfinite(self.to_tensor().detach()).all())

    def is_finite(self, work: Work = ALONE) -> bool:
        """The same as `finite`; those whose values may be many call `work.check` every 2^20 of them."""
        work.check()
        return self.finite

    def decoded(self, work: Work = ALONE) -> Tensor:
        """The same as `to_tensor()`, without gradients; calls `work.check` at least every 2^20 weights if it can."""
        work.check()
        return self.to_tensor().detach()

    @classmethod
    def describe(cls, fields: Sequence[int]) -> str:
        """A few words for a table: the kind and what matters of `fields`, which `layout` has accepted."""
        return cls.__name__.lower()

    # figures -----------------------------------------------------------------------------------------------------

    @property
    def nonzeros(self) -> int:
        """How many weights of the tensor are not zero."""
        return int(torch.count_nonzero(self.to_tensor().detach()))
