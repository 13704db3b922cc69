"""Uniform: each weight is a whole number of steps; one step for the tensor, or one for each of its rows.

In the file: two fields, form and alphabet. form is `dependent + 2 * by_rows + 4 * continued`. Then one stream, the
levels in row-major order as symbols 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ..., and one child, the steps, shape (1,) or
(shape[0],).
Dependent levels stand on one of two grids, see numerics/trellis.py; the trellis begins anew at each row (one row below
rank 2), so that rows are read and quantized independently of each other. A continued one runs through the whole tensor,
as that of ISO/IEC 15938-17 does.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from featherweight.core.native import native
from featherweight.encodings import _levels_native
from featherweight.encodings._levels import MAX_LEVEL, check_levels, divisor, from_symbols, to_symbols
from featherweight.encodings.base import Encoding, Layout, Packed, Shape
from featherweight.encodings.dense import Dense
from featherweight.entropy.base import ALONE, Stream, Symbols, Work
from featherweight.entropy.tables import largest, native_symbols
from featherweight.errors import EncodingError, FormatError
from featherweight.numerics import trellis

_BY_ROWS, _CONTINUED = 2, 4
_CHUNK = 1 << 20  # weights handled at a time: no float64 copy ever has the size of the tensor
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_NEAR = 16  # a tensor this many rounding errors or less from one of this structure is taken for one


@dataclass(frozen=True, eq=False)
class Uniform(Encoding):
    """Whole numbers of steps: weight = step * level, or the dependent grid of numerics/trellis.py.

    `levels` are integers of the tensor's shape, at most 2^30 - 1 in size, kept as int32; `step` has shape (1,) or
    (shape[0],), is finite and above 0, and is an encoding itself or a tensor that becomes a Dense one; its type (not
    below 16 bits) is that of the weights, which are computed in float32 (float64 for float64) and then rounded.

    Raises: EncodingError for levels or steps that are not so.
    """

    _shape: Shape
    _kept: Tensor | Symbols  # the levels, or what was read until somebody asks for them
    step: Encoding
    dependent: bool
    continued: bool  # the trellis runs on from row to row; only a dependent tensor of two rows or more may be so

    code: ClassVar[int] = 3
    field_count: ClassVar[int] = 2

    def __init__(
        self, levels: Tensor, step: Encoding | Tensor, dependent: bool = False, continued: bool = False
    ) -> None:
        child = Dense(step) if isinstance(step, Tensor) else step
        check_levels(levels)
        _check_steps(child, tuple(levels.shape))
        shape = tuple(levels.shape)
        self._set(shape, levels.detach().to(torch.int32), child, bool(dependent), bool(continued))

    def _set(self, shape: Shape, kept: Tensor | Symbols, step: Encoding, dependent: bool, continued: bool) -> None:
        continued = dependent and continued and _matrix(shape)[0] > 1
        self.__dict__.update(_shape=shape, _kept=kept, step=step, dependent=dependent, continued=continued)

    @classmethod
    def of(cls, weight: Tensor, step: Encoding | Tensor) -> "Uniform":
        """Each weight as its nearest multiple of the step, the even one of two that are equally near.

        Raises: EncodingError for weights that are no numbers, or that lie beyond 2^30 - 1 steps.
        """
        child = Dense(step) if isinstance(step, Tensor) else step
        _check_steps(child, tuple(weight.shape))
        steps = child.to_tensor().detach().double()
        levels = torch.empty(weight.shape, dtype=torch.int32, device=weight.device)
        rows, columns = _rows(weight.shape, len(steps))
        pairs = zip(_pieces(levels, rows, columns), _pieces(weight.detach(), rows, columns), strict=True)
        for out, part in pairs:
            exact = (part.double() / steps.to(part.device)[:, None]).round()
            if not bool((exact.abs() <= MAX_LEVEL).all()):
                largest = float(exact.abs().max())
                raise EncodingError(f"a weight is beyond {MAX_LEVEL} steps, or no number", value=largest)
            out.copy_(exact)
        return cls(levels, child)

    @classmethod
    def from_tensor(cls, weight: Tensor) -> "Uniform":
        """The weight with the largest step that keeps it exactly; where none does, with the finest step there is.

        Raises: EncodingError for a type or values that cannot be kept.
        """
        if not weight.is_floating_point():
            raise EncodingError("levels and steps keep floating-point weights", value=weight.dtype)
        return cls.of(weight, torch.tensor([divisor(weight.detach())]).to(weight.device, weight.dtype))

    @property
    def shape(self) -> Shape:
        """See Encoding."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """See Encoding."""
        return self.step.dtype

    @property
    def levels(self) -> Tensor:
        """How many steps each weight is on its grid, int32, shape of the tensor."""
        return self._levels(ALONE)

    @cached_property
    def multiples(self) -> Tensor:
        """How many steps each weight is, int32, shape of the tensor: the levels, or what the trellis makes of them."""
        return self._multiples(ALONE)

    def to_tensor(self) -> Tensor:
        """step * multiple; the gradient of a step is the sum of gradient * multiple over its weights."""
        return self._spread(self.step.to_tensor())

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of each step, given to its weights by their multiples: all take the same step of the step."""
        sums = self._dots(gradient, self.multiples.to(gradient.device)).to(gradient.dtype)
        return self._spread(self.step.gradient(sums))

    def project(self, weight: Tensor) -> Tensor:
        """The levels with the steps that come nearest in square; exactly `weight` where it has this structure."""
        return self._spread(self.step.project(self._fitted(weight.detach())))

    def updated(self, weight: Tensor) -> "Uniform":
        """The same levels with the nearest steps; rows whose step would be below 0 change sign, of 0 become zeros.

        A row that its step gives exactly keeps it, although in few bits others may give the same.
        """
        old = self.step.to_tensor().detach().to(weight)
        same = self._errors(weight.detach(), old) == 0
        fitted = torch.where(same, old, self._fitted(weight.detach()))
        child = self.step.updated(fitted.abs())
        lost = child.to_tensor().detach() == 0
        if bool(lost.any()):
            child = child.updated(torch.where(lost, self.step.to_tensor().detach().to(fitted), fitted.abs()))
        signs = torch.where(lost, 0.0, fitted.sign()).to(torch.int32)
        if bool((signs == 1).all()):
            changed = Uniform(self.levels, child, self.dependent, self.continued)
            changed.__dict__["multiples"] = self.multiples
            return changed
        rows, columns = _rows(self.shape, len(signs))
        levels = self.levels.to(signs.device).reshape(rows, columns) * signs[:, None]
        return Uniform(levels.reshape(self.shape), child, self.dependent, self.continued)

    def state(self) -> dict[str, Tensor]:
        """The levels and the state of the steps."""
        return {"levels": self.levels} | {f"step.{name}": item for name, item in self.step.state().items()}

    def restored(self, state: Mapping[str, Tensor]) -> "Uniform":
        """See Encoding."""
        prefix = "step."
        inner = {name.removeprefix(prefix): item for name, item in state.items() if name.startswith(prefix)}
        return Uniform(state["levels"], self.step.restored(inner), self.dependent, self.continued)

    @property
    def finite(self) -> bool:
        """See Encoding: the steps are, but a large one times a large level need not be."""
        if not isinstance(self.step, Dense) and not self.step.finite:
            return False  # the values of a Dense are the steps themselves, at which the products will look
        if self._far_from_infinity:
            return True
        rows, columns = _rows(self.shape, self.step.shape[0])
        if not columns:
            return self.step.finite
        largest = self.multiples.reshape(rows, columns).abs().amax(dim=1)
        return bool(torch.isfinite(_product(self.step.to_tensor().detach(), largest)).all())

    def decoded(self, work: Work = ALONE) -> Tensor:
        """See Encoding. Levels and multiples are not kept, nor made where there is native code."""
        return self._spread(self.step.to_tensor().detach(), work)

    @property
    def nonzeros(self) -> int:
        """See Encoding."""
        kept = self._kept
        return int(torch.count_nonzero(kept) if isinstance(kept, Tensor) else np.count_nonzero(kept))

    def pack(self, form: int | None = None) -> Packed:
        """See Encoding. The only form is the one that dependence and number of steps make."""
        number = self.dependent + _BY_ROWS * (self.step.shape[0] > 1) + _CONTINUED * self.continued
        if form not in (None, number):
            raise EncodingError(f"the form of this tensor is {number}", value=form)
        kept = self._kept
        symbols = to_symbols(kept.reshape(-1).cpu().numpy()) if isinstance(kept, Tensor) else kept
        return Packed((number, int(symbols.max(initial=0)) + 1), (symbols,), (self.step,))

    @classmethod
    def layout(cls, shape: Shape, fields: Sequence[int]) -> Layout:
        """See Encoding. Raises: FormatError (E_VERSION, E_SHAPE, E_COUNT)."""
        form, alphabet = fields
        by_rows, dependent, continued = bool(form & _BY_ROWS), bool(form & 1), bool(form & _CONTINUED)
        if form > 1 + _BY_ROWS + _CONTINUED or (continued and not dependent):
            raise FormatError("E_VERSION", "a form of levels that this version does not know", value=form)
        if by_rows and (not shape or shape[0] < 2):
            raise FormatError("E_SHAPE", "steps of rows for a tensor without two rows", value=shape)
        count = math.prod(shape)
        rows, columns = _matrix(shape)
        if continued and rows < 2:
            raise FormatError("E_SHAPE", "a trellis of one row that runs on", value=shape)
        if not 1 <= alphabet <= (2 * MAX_LEVEL + 1 if count else 1):
            raise FormatError("E_COUNT", f"levels are at most {MAX_LEVEL} in size", value=alphabet)
        trellis = (count if continued else columns) if dependent else 0
        levels = Stream(count, alphabet, shape, signed=True, trellis=trellis)
        return Layout((levels,), ((shape[0] if by_rows else 1,),))

    @classmethod
    def unpack(cls, shape: Shape, packed: Packed, work: Work = ALONE) -> "Uniform":
        """See Encoding. Raises: FormatError (E_COUNT, E_INDEX, E_NONFINITE, E_VERSION)."""
        form, alphabet = packed.fields
        symbols, step = native_symbols(packed.streams[0]), packed.children[0]
        most = largest(symbols, work)
        if most >= alphabet:
            raise FormatError("E_INDEX", f"a level outside the alphabet of {alphabet}", value=most)
        if most != alphabet - 1:
            raise FormatError("E_COUNT", f"the alphabet is larger than the {most + 1} symbols used", value=alphabet)
        try:
            _check_steps(step, shape)
        except EncodingError as error:
            code = "E_NONFINITE" if _computable(step.dtype) else "E_VERSION"
            raise FormatError(code, error.what, value=error.value) from error
        made = cls.__new__(cls)
        made._set(shape, symbols, step, bool(form & 1), bool(form & _CONTINUED))
        made.__dict__["_most"] = most // 2 + 1
        return made

    @classmethod
    def describe(cls, fields: Sequence[int]) -> str:
        """See Encoding: which grid, and how many levels."""
        return f"{'dependent' if fields[0] & 1 else 'uniform'} {fields[1]}"

    # -----------------------------------------------------------------------------------------------------------------

    @cached_property
    def _most(self) -> int:
        """The largest level, or one more, in size."""
        kept = self._kept
        if isinstance(kept, Tensor):
            return max(abs(int(item)) for item in kept.aminmax()) if kept.numel() else 0
        return largest(kept) // 2 + 1

    def _levels(self, work: Work) -> Tensor:
        kept = self._kept
        if isinstance(kept, Tensor):
            return kept
        found = np.empty(len(kept), np.int32)
        for start in range(0, len(kept), _CHUNK):
            work.check()
            found[start : start + _CHUNK] = from_symbols(kept[start : start + _CHUNK])
        levels = torch.from_numpy(found).reshape(self.shape)
        self.__dict__["_kept"] = levels
        return levels

    def _multiples(self, work: Work) -> Tensor:
        kept = self._levels(work)
        if not self.dependent:
            return kept
        rows, columns = (1, kept.numel()) if self.continued else _matrix(self.shape)
        levels = kept.cpu().numpy().reshape(rows, columns)
        if native is not None:
            found = _levels_native.multiples(native, levels.reshape(-1), columns, work)
        else:
            found = np.empty_like(levels)
            some = max(1, _CHUNK // max(columns, 1))
            for first in range(0, rows, some):
                work.check()
                found[first : first + some] = trellis.multiples(levels[first : first + some])
        return torch.from_numpy(found).reshape(self.shape).to(kept.device)

    def _spread(self, steps: Tensor, work: Work = ALONE) -> Tensor:
        """steps * multiples, in the shape of the tensor and the type of `steps`."""
        trained = steps.requires_grad and torch.is_grad_enabled()
        if native is not None and not trained and steps.device.type == "cpu" and steps.itemsize <= 4:
            return _levels_native.values(native, *self._flat(), steps, work).view(self.shape)
        rows, columns = _rows(self.shape, len(steps))
        if "multiples" not in self.__dict__:
            self.__dict__["multiples"] = self._multiples(work)
        multiples = self.multiples.to(steps.device).reshape(rows, columns)
        if trained:
            return _product(steps[:, None], multiples).reshape(self.shape)
        found = torch.empty((rows, columns), dtype=steps.dtype, device=steps.device)
        for out, part in zip(_pieces(found, rows, columns), _pieces(multiples, rows, columns), strict=True):
            work.check()
            out.copy_(_product(steps[:, None], part))
        return found.reshape(self.shape)

    def _flat(self) -> tuple[_levels_native.Flat, int]:
        """What native code makes weights of, and after how many its trellis starts anew (0: there is none)."""
        kept, period = self._kept, math.prod(self.shape if self.continued else _matrix(self.shape)[1:])
        if "multiples" in self.__dict__:
            kept, period = self.multiples, 0
        flat = kept.reshape(-1).cpu().contiguous().numpy() if isinstance(kept, Tensor) else kept
        return flat, period if self.dependent else 0

    @property
    def _far_from_infinity(self) -> bool:
        """Whether steps and levels are too small for a product that is no number; cheap, and False if in doubt."""
        steps = self.step.to_tensor().detach()
        step = steps.item() if steps.numel() == 1 else steps.abs().max().item()  # NaN if one of them is
        return abs(step) * 2 * self._most < _half_of_largest(steps.dtype)

    @cached_property
    def _squares(self) -> Tensor:
        """The sum of squared multiples for each step, float64."""
        return self._dots(self.multiples, self.multiples)

    def _dots(self, one: Tensor, other: Tensor) -> Tensor:
        """The sum of one * other for each step, float64, shape of the steps."""
        rows, columns = _rows(self.shape, self.step.shape[0])
        sums = torch.zeros(rows, dtype=torch.float64, device=one.device)
        for left, right in zip(_pieces(one, rows, columns), _pieces(other, rows, columns), strict=True):
            sums += (left.double() * right.double()).sum(dim=1)
        return sums

    def _fitted(self, weight: Tensor) -> Tensor:
        """The steps with the least squared error, in the weight's type; a row without levels keeps its step."""
        multiples, squares = self.multiples.to(weight.device), self._squares.to(weight.device)
        old = self.step.to_tensor().detach().to(weight)
        fitted = (self._dots(weight, multiples) / squares.clamp(min=1)).to(weight.dtype)
        fitted = torch.where(squares > 0, fitted, old)
        return self._undone(weight, fitted, squares)

    def _undone(self, weight: Tensor, steps: Tensor, squares: Tensor) -> Tensor:
        """`steps`, or their neighbours among floats where those give `weight` more nearly.

        The mean of rounded products may lie one float beside the step they were rounded from. Without this a tensor
        of this structure would not be a fixed point of `project`, and training would drift.
        """
        best, error = steps, self._errors(weight, steps)
        tiny = (_NEAR * torch.finfo(weight.dtype).eps * steps.double()) ** 2 * squares
        if not bool(((error > 0) & (error <= tiny)).any()):
            return steps
        for away in (-1, 1):
            beside = (steps.view(_INTEGERS[steps.itemsize]) + away).view(steps.dtype)
            other = self._errors(weight, beside)
            nearer = other < error  # never for what is no number
            best, error = torch.where(nearer, beside, best), torch.where(nearer, other, error)
        return best

    def _errors(self, weight: Tensor, steps: Tensor) -> Tensor:
        """Squared error of each row with these steps, float64."""
        off = weight - self._spread(steps)
        return self._dots(off, off)


@cache
def _half_of_largest(kind: torch.dtype) -> float:
    return torch.finfo(kind).max / 2


def _check_steps(step: Encoding, shape: Shape) -> None:
    one = step.shape == (1,)
    if not one and (step.shape != shape[:1] or shape[:1] in ((), (0,))):
        raise EncodingError("steps are one for the tensor, shape (1,), or one for each row", value=step.shape)
    if not _computable(step.dtype):
        raise EncodingError("steps are floats of 16 bits or more", value=step.dtype)
    steps = step.to_tensor().detach()
    if one and 0 < steps.item() < math.inf:
        return
    limits = steps.aminmax()  # both are NaN if one of the steps is
    if not all(0 < limit.item() < math.inf for limit in limits):
        wrong = ~(torch.isfinite(steps) & (steps > 0))
        raise EncodingError("a step must be finite and above 0", value=float(steps[wrong][0]))


def _computable(kind: torch.dtype) -> bool:
    return kind.is_floating_point and kind.itemsize > 1


def _product(steps: Tensor, multiples: Tensor) -> Tensor:
    """steps * multiples rounded to the type of `steps`; whole numbers up to 2^24 are exact in float32."""
    wide = torch.float64 if steps.dtype == torch.float64 else torch.float32
    return (steps.to(wide) * multiples.to(wide)).to(steps.dtype)


def _matrix(shape: Shape) -> tuple[int, int]:
    """Rows and columns of the trellis: the first dimension and all others; one row below rank 2."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _rows(shape: Shape, steps: int) -> tuple[int, int]:
    """The tensor as a matrix with one row for each step."""
    return steps, math.prod(shape) // steps


def _pieces(tensor: Tensor, rows: int, columns: int) -> Iterator[Tensor]:
    """The tensor as a matrix, some columns at a time."""
    yield from torch.split(tensor.reshape(rows, columns), max(1, _CHUNK // rows), dim=1)
