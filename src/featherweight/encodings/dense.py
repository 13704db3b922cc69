"""Dense: every weight on its own, in a number type that may be narrower than the one it is used in.

In the file: one field, `stored + 16 * planes + 32 * values + 512 * turned`, with the numbers of `_TYPES` for the type
in the file and the type in use. Then the values in row-major order, little-endian, as symbols of an alphabet of 256:
one stream of all bytes (planes = 0), or one stream for each byte of a value, lowest first (planes = 1; the highest byte
holds sign and exponent and codes well alone). turned = 1, for floating types with planes, turns each value one bit to
the left first, so that the sign goes from the highest place to the lowest: the highest byte is then the exponent of a
float32 or bfloat16 and nothing else, and the other bytes, mantissa and sign, hold next to nothing that can be coded.
Booleans are one stream of symbols of an alphabet of 2, planes = 0. Integers are stored in the first of uint8, int8,
int16, int32, int64 that holds them all and lies within the range of the type in use. A NaN that is stored in a narrower
type than the one in use has the bits of `_NAN`.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.encodings import _planes
from featherweight.encodings.base import Encoding, Layout, Packed, Shape
from featherweight.entropy.base import ALONE, Stream, Symbols, Work
from featherweight.errors import EncodingError, FormatError

_TYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.bool,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)  # the place is the number in the file: never reorder
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_NAN = {
    torch.float32: 0x7FC00000,
    torch.float16: 0x7E00,
    torch.bfloat16: 0x7FC0,
    torch.float8_e4m3fn: 0x7F,
    torch.float8_e5m2: 0x7F,
}
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
_PLANES, _VALUES, _TURNED = 16, 32, 512
_ASKED = "_finite"  # under which a tensor that was read keeps that its exponents are those of numbers
_CHUNK = 1 << 20  # values read at a time
_SMALL = 1 << 12  # fewer values do not repay turning them
_LARGE = 1 << 16  # so many values are not smaller with all bytes in one stream


@dataclass(frozen=True, eq=False)
class Dense(Encoding):
    """All values of a tensor (any shape), kept in the type `stored`, used in their own type.

    `values` is not copied: nothing else may write to it. `stored` is a floating type not wider than the values' for
    floating values (default: the values' own); integers and booleans are always kept exactly.

    Raises: EncodingError for types that do not go together.
    """

    values: Tensor
    stored: torch.dtype | None = None  # never None once it is made

    code: ClassVar[int] = 0
    field_count: ClassVar[int] = 1
    worth: ClassVar[float] = 1 / 16  # half a bit of a byte: a plane of mantissas takes as long as that of exponents

    def __post_init__(self) -> None:
        stored = self.values.dtype if self.stored is None else self.stored
        if self.values.dtype in _INTEGERS and stored in _INTEGERS:
            stored = self.values.dtype
        if not _go_together(self.values.dtype, stored):
            raise EncodingError(
                f"values of {self.values.dtype} cannot be stored as this type",
                value=stored,
                fix="Use the values' own type, or a narrower floating one for floating values.",
            )
        object.__setattr__(self, "stored", stored)

    @classmethod
    def from_tensor(cls, weight: Tensor) -> "Dense":
        """A copy of the weights, in their own type."""
        return cls(weight.detach().clone())

    @property
    def shape(self) -> Shape:
        """See Encoding."""
        return tuple(self.values.shape)

    @property
    def dtype(self) -> torch.dtype:
        """See Encoding."""
        return self.values.dtype

    def to_tensor(self) -> Tensor:
        """The values, rounded to the stored type; in their own type."""
        return self.values if self._exact else self.values.to(self.stored).to(self.values.dtype)

    def decoded(self, work: Work = ALONE) -> Tensor:
        """See Encoding."""
        kept = _converted(self.values.detach(), self.stored or self.dtype, work)
        return _converted(kept, self.dtype, work)

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient itself: every value is free."""
        return gradient

    def project(self, weight: Tensor) -> Tensor:
        """The weight itself. Rounding happens when it is stored: rounding after each step would lose small steps."""
        return weight

    def updated(self, weight: Tensor) -> "Dense":
        """A copy of `weight`, stored in the same type."""
        return Dense(weight.detach().clone(), self.stored)

    def state(self) -> dict[str, Tensor]:
        """The values."""
        return {"values": self.values.detach()}

    def restored(self, state: Mapping[str, Tensor]) -> "Dense":
        """The values in `state`, stored in the same type."""
        return Dense(state["values"], self.stored)

    @property
    def finite(self) -> bool:
        """See Encoding."""
        return self.is_finite()

    def is_finite(self, work: Work = ALONE) -> bool:
        """See Encoding. What reading found out is told once, as later on somebody may have trained the values."""
        return self.__dict__.pop(_ASKED, False) or _planes.is_finite(self.values, work)

    def forms(self) -> Sequence[int]:
        """All bytes in one stream, one stream for each byte of a value, or the same with the sign at the end."""
        stored = self._narrowest()
        whole = _TYPES.index(stored) + _VALUES * _TYPES.index(self.dtype)
        if stored.itemsize == 1:
            return (whole,)
        turned, count = whole + _PLANES + _TURNED, self.values.numel()
        if stored.is_floating_point and count >= _LARGE:
            return (turned,)  # a sign is as good as random, so that the other planes cannot be much smaller
        if stored.is_floating_point and count >= _SMALL:
            return (whole, turned, whole + _PLANES)
        return (whole, whole + _PLANES) if count < _LARGE else (whole + _PLANES,)

    def pack(self, form: int | None = None) -> Packed:
        """See Encoding. Raises: EncodingError also for a value that is too large for the stored type."""
        kind = self.forms()[0] if form is None else form
        try:
            parsed = _parsed(kind)
        except FormatError as error:
            raise EncodingError("there is no such form", value=kind) from error
        if parsed.values != self.dtype or (parsed.stored not in _INTEGERS and parsed.stored != self.stored):
            raise EncodingError("the values are not of the types of this form", value=kind)
        raw = self._bytes(parsed.stored)
        return Packed((kind,), _planes.apart(raw, parsed.turned) if parsed.planes else (raw.reshape(-1),), ())

    @classmethod
    def layout(cls, shape: Shape, fields: Sequence[int]) -> Layout:
        """See Encoding. Raises: FormatError (E_VERSION)."""
        form = _parsed(fields[0])
        count, size = math.prod(shape), form.stored.itemsize
        if form.stored == torch.bool:
            return Layout((Stream(count, 2, shape),), (), 1, torch.bool)
        if form.planes:
            return Layout((Stream(count, 256, shape),) * size, (), form.values.itemsize, form.values)
        return Layout((Stream(count * size, 256, shape if size == 1 else ()),), (), form.values.itemsize, form.values)

    @classmethod
    def unpack(cls, shape: Shape, packed: Packed, work: Work = ALONE) -> "Dense":
        """See Encoding. Raises: FormatError (E_VERSION, E_NONFINITE)."""
        form = _parsed(packed.fields[0])
        values, stored = form.values, form.stored
        if form.planes:
            raw = _planes.together(packed.streams, form.turned, work).reshape(-1)
        else:
            raw = _in_order(packed.streams[0], stored.itemsize)
        kept = torch.from_numpy(raw).view(stored) if len(raw) else torch.empty(0, dtype=stored)
        used = kept
        if values != stored:
            used = _converted(kept, values, work)
            if stored.is_floating_point:
                _check_kept(used, kept, work)
        made = cls(used if len(shape) == 1 else used.reshape(shape), stored)
        if form.turned and _planes.surely_finite(packed.streams[-1], stored, work):
            made.__dict__[_ASKED] = True
        return made

    @classmethod
    def describe(cls, fields: Sequence[int]) -> str:
        """See Encoding: the type in the file."""
        return f"dense {str(_parsed(fields[0]).stored).removeprefix('torch.')}"

    @property
    def _exact(self) -> bool:
        return self.stored == self.values.dtype

    def _narrowest(self) -> torch.dtype:
        """The type in the file: for integers the first that holds them all."""
        if self.dtype not in _INTEGERS:
            return self.stored or self.dtype
        low, high = (0, 0) if self.values.numel() == 0 else (int(item) for item in self.values.aminmax())
        fitting = (item for item in _INTEGERS if _go_together(self.dtype, item))
        return next(item for item in fitting if torch.iinfo(item).min <= low and high <= torch.iinfo(item).max)

    def _bytes(self, stored: torch.dtype) -> NDArray[np.uint8]:
        """The stored values as bytes, shape (numel, itemsize), lowest byte first."""
        values = self.values.detach().cpu().reshape(-1)
        kept = values.to(stored, copy=not self._exact).contiguous()
        if stored.is_floating_point and not self._exact:
            kept.view(_BITS[stored.itemsize])[torch.isnan(values)] = _NAN[stored]
        if stored.is_floating_point and not self._exact:
            lost = torch.isfinite(values) & ~torch.isfinite(kept.to(values.dtype))
            if bool(lost.any()):
                raise EncodingError(
                    f"too large for {stored}", value=float(values[lost][0]), fix="Store it in a wider type."
                )
        elif not stored.is_floating_point and not torch.equal(kept.to(values.dtype), values):
            raise EncodingError("an integer is too large for the type of this form", value=str(stored))
        raw = kept.view(torch.uint8).numpy().reshape(-1, stored.itemsize)
        return raw[:, ::-1] if sys.byteorder == "big" else raw


def _in_order(raw: Symbols, size: int) -> NDArray[np.uint8]:
    """The bytes of values of `size` bytes each in the order of the machine, in memory that may be written to."""
    if sys.byteorder == "big":
        raw = raw.reshape(-1, size)[:, ::-1].reshape(-1)
    return raw if raw.flags.writeable else raw.copy()


def _go_together(values: torch.dtype, stored: torch.dtype) -> bool:
    """Whether every number of the type `stored` is one of the type `values`."""
    if values not in _TYPES or stored not in _TYPES:
        return False
    if values == stored:
        return True
    if values in _INTEGERS and stored in _INTEGERS:
        outer, inner = torch.iinfo(values), torch.iinfo(stored)
        return outer.min <= inner.min and inner.max <= outer.max
    return values.is_floating_point and stored.is_floating_point and stored.itemsize < values.itemsize


@dataclass(frozen=True)
class _Form:
    """What the field says: type in use, type in the file, whether bytes have streams of their own and signs go last."""

    values: torch.dtype
    stored: torch.dtype
    planes: bool
    turned: bool


@lru_cache(256)
def _parsed(kind: int) -> _Form:
    stored, planes, values, turned = (
        kind % _PLANES,
        kind // _PLANES % 2,
        kind % _TURNED // _VALUES,
        kind // _TURNED,
    )
    if stored >= len(_TYPES) or values >= len(_TYPES) or not _go_together(_TYPES[values], _TYPES[stored]):
        raise FormatError("E_VERSION", "a number type that this version does not know", value=kind)
    if planes and _TYPES[stored].itemsize == 1:
        raise FormatError("E_VERSION", "values of one byte have no planes", value=kind)
    if turned > 1 or (turned and not (planes and _TYPES[stored].is_floating_point)):
        raise FormatError("E_VERSION", "only planes of floating values have their signs at the end", value=kind)
    return _Form(_TYPES[values], _TYPES[stored], bool(planes), bool(turned))


def _converted(values: Tensor, kind: torch.dtype, work: Work) -> Tensor:
    """Flat or shaped `values` in another type; themselves if it is theirs."""
    if values.dtype == kind:
        return values
    out = torch.empty(values.shape, dtype=kind, device=values.device)
    for to, part in zip(torch.split(out.view(-1), _CHUNK), torch.split(values.reshape(-1), _CHUNK), strict=True):
        work.check()
        to.copy_(part)
    return out


def _check_kept(used: Tensor, kept: Tensor, work: Work) -> None:
    """Checks that storing again gives the same bits: what kind of NaN it was is lost in use."""
    bits = kept.view(_BITS[kept.itemsize])
    for found, part in zip(torch.split(used, _CHUNK), torch.split(bits, _CHUNK), strict=True):
        work.check()
        strange = part[torch.isnan(found)] != _NAN[kept.dtype]
        if bool(strange.any()):
            raise FormatError("E_NONFINITE", "a NaN of a kind that no writer stores", value=int(strange.sum()))
