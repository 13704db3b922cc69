"""Sparse: which weights are kept, and an encoding of their values; all others are zero.

In the file: three fields, the form of the mask, how many weights are kept, and how many fillings its index has (0 for a
bitmap). Then the streams of the form, see `_mask_forms.py`, and one child: the values kept, in row-major order, shape
(kept,). Sparse over Codebook is the layer of Song Han, Huizi Mao and William J. Dally, "Deep Compression", ICLR 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from featherweight.encodings._mask_forms import MaskForm, likely_forms, matrix, read_mask, write_mask
from featherweight.encodings._relative_index import Mask
from featherweight.encodings.base import Encoding, Layout, Packed, Shape
from featherweight.encodings.dense import Dense
from featherweight.entropy.base import ALONE, Work
from featherweight.errors import EncodingError, FormatError

_CHUNK = 1 << 20  # weights handled at a time


@dataclass(frozen=True, eq=False)
class Sparse(Encoding):
    """Zeros outside `mask` (bool, the tensor's shape); `inner` keeps the values inside it, shape (kept,), row-major.

    The mask alone says what is pruned: a value that is kept may be zero, whatever a codebook makes of it. Neither is
    copied: nothing else may write to them.

    Raises: EncodingError for a mask that is not bool or an inner encoding of another length.
    """

    mask: Tensor
    inner: Encoding

    code: ClassVar[int] = 1
    field_count: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise EncodingError("a mask is a tensor of bool", value=self.mask.dtype, fix="Give `weight != 0`.")
        kept = int(torch.count_nonzero(self.mask))
        if self.inner.shape != (kept,):
            raise EncodingError(f"the mask keeps {kept} weights, the inner encoding has others", value=self.inner.shape)

    @classmethod
    def of(cls, weight: Tensor, mask: Tensor) -> "Sparse":
        """The weights inside `mask` as they are. Raises: EncodingError when the shapes differ."""
        if mask.shape != weight.shape:
            raise EncodingError("mask and weight differ in shape", value=(tuple(mask.shape), tuple(weight.shape)))
        return cls(mask, Dense(weight.detach()[mask]))

    @classmethod
    def from_tensor(cls, weight: Tensor) -> "Sparse":
        """The weights that are not zero."""
        return cls.of(weight, weight.detach() != 0)

    @property
    def shape(self) -> Shape:
        """See Encoding."""
        return tuple(self.mask.shape)

    @property
    def dtype(self) -> torch.dtype:
        """See Encoding."""
        return self.inner.dtype

    def to_tensor(self) -> Tensor:
        """The values kept at their places, zeros elsewhere."""
        return _scattered(self.mask, self.inner.to_tensor())

    def gradient(self, gradient: Tensor) -> Tensor:
        """Zero for what is pruned, the inner encoding's gradient for what is kept."""
        mask = self.mask.to(gradient.device)
        if isinstance(self.inner, Dense):  # every value is free: no need to gather and scatter
            return gradient.masked_fill(~mask, 0)
        return _scattered(mask, self.inner.gradient(gradient[mask]))

    def project(self, weight: Tensor) -> Tensor:
        """Zero for what is pruned, the inner encoding's projection for what is kept."""
        mask = self.mask.to(weight.device)
        if isinstance(self.inner, Dense):
            return weight.masked_fill(~mask, 0)
        return _scattered(mask, self.inner.project(weight[mask]))

    def updated(self, weight: Tensor) -> "Sparse":
        """The same mask around the values that `weight` has inside it."""
        return Sparse(self.mask, self.inner.updated(weight.detach()[self.mask.to(weight.device)]))

    def state(self) -> dict[str, Tensor]:
        """The mask and the state of the inner encoding."""
        return {"mask": self.mask} | {f"inner.{name}": item for name, item in self.inner.state().items()}

    def restored(self, state: Mapping[str, Tensor]) -> "Sparse":
        """See Encoding."""
        prefix = "inner."
        inner = {name.removeprefix(prefix): item for name, item in state.items() if name.startswith(prefix)}
        return Sparse(state["mask"], self.inner.restored(inner))

    @property
    def finite(self) -> bool:
        """See Encoding."""
        return self.inner.finite

    def is_finite(self, work: Work = ALONE) -> bool:
        """See Encoding."""
        return self.inner.is_finite(work)

    def decoded(self, work: Work = ALONE) -> Tensor:
        """See Encoding."""
        return _scattered(self.mask, self.inner.decoded(work), work)

    @property
    def nonzeros(self) -> int:
        """See Encoding."""
        return self.inner.nonzeros

    def forms(self) -> Sequence[int]:
        """See Encoding: a few relative indices of several widths and orders, and the bitmap."""
        return likely_forms(self._matrix())

    def pack(self, form: int | None = None) -> Packed:
        """See Encoding."""
        mask = self._matrix()
        number = likely_forms(mask)[0] if form is None else form
        try:
            found = MaskForm.of(number, self.shape)
        except FormatError as error:
            raise EncodingError("there is no such form of mask", value=number) from error
        kept = self.inner.shape[0]
        streams = write_mask(mask, found)
        fillings = len(streams[-1]) - kept if found.width else 0
        return Packed((number, kept, fillings), streams, (self.inner,))

    @classmethod
    def layout(cls, shape: Shape, fields: Sequence[int]) -> Layout:
        """See Encoding. Raises: FormatError (E_VERSION, E_SHAPE)."""
        form, kept, fillings = fields
        return Layout(MaskForm.of(form, shape).streams(shape, kept, fillings), ((kept,),))

    @classmethod
    def unpack(cls, shape: Shape, packed: Packed, work: Work = ALONE) -> "Sparse":
        """See Encoding. Raises: FormatError (E_COUNT, E_INDEX, E_PADDING)."""
        form, kept, _ = packed.fields
        mask = read_mask(shape, MaskForm.of(form, shape), kept, packed.streams, work)
        made = object.__new__(cls)  # all that __post_init__ checks has been checked, piece by piece
        object.__setattr__(made, "mask", torch.from_numpy(mask).reshape(shape))
        object.__setattr__(made, "inner", packed.children[0])
        return made

    @classmethod
    def describe(cls, fields: Sequence[int]) -> str:
        """See Encoding: how the places are kept."""
        width = fields[0] % 32
        return f"sparse index {width}" if width else "sparse bitmap"

    def _matrix(self) -> Mask:
        mask: Mask = self.mask.cpu().numpy().reshape(matrix(self.shape))
        return mask


def _scattered(mask: Tensor, values: Tensor, work: Work = ALONE) -> Tensor:
    """`values` (kept,) at the places of `mask`, zeros elsewhere; differentiable in `values`."""
    mask = mask.to(values.device)
    if values.requires_grad and torch.is_grad_enabled():
        return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
    out = torch.empty(mask.shape, dtype=values.dtype, device=values.device)
    done = 0
    for part, places in zip(torch.split(out.view(-1), _CHUNK), torch.split(mask.reshape(-1), _CHUNK), strict=True):
        work.check()
        part.zero_().masked_scatter_(places, values[done:])
        done += int(torch.count_nonzero(places))
    return out
