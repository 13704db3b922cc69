"""One tensor made ready for quantization, and quantized at a price of a bit.

A tensor is a matrix of rows (the first axis) and columns, or for grouped convolutions groups of rows. `importance` is
what a squared error costs at each place relative to the tensor's mean, `scale` that mean. At a price (cost of one bit)
the step is the one at which error and bits are in balance, price = `BALANCE` scale step^2 (numerics/rounding.py), or a
little less where few bits are left and that is cheaper; see `FINER`. Where nothing tells the weights of a tensor apart
but their size, step and levels come from how often each size occurs (numerics/scalar.py).
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherweight.encodings.base import Encoding, Packed
from featherweight.encodings.dense import Dense
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.tables import largest
from featherweight.numerics import scalar
from featherweight.numerics.feedback import Feedback, compensated_quantized
from featherweight.numerics.magnitudes import Magnitudes, magnitudes
from featherweight.numerics.rate import ContextEntropy, Floats, RateModel
from featherweight.numerics.rounding import BALANCE, DEPENDENT_BALANCE, dependent_quantized, quantized
from featherweight.numerics.trellis_feedback import dependent_compensated_quantized

FINER = (1.0, 0.85, 0.7)  # steps that are tried, in those of the balance at a high rate
DEPENDENT_FINER = 0.55  # a trellis of this step takes the bits of a grid of step 1: 1 / 1.8, measured (catalogue B16)

_LARGEST = (1 << 18) - 1  # levels of a tensor at most: half of what the file holds, as feedback may add to them
_SMALLEST = 1e-4  # size of a row at least, in that of the largest: rows of zeros need some step
_USUAL_STEP, _LARGEST_STEP = 6, 255  # of a row, in steps of the tensor
_TAIL = 0.02  # share of the rows whose step may be coarser than wanted
_STORED = torch.bfloat16  # steps are chosen among its numbers


@dataclass
class Target:
    """A tensor to quantize: its name, weight, and what an error costs; `mask` (bool) where it may be other than 0."""

    name: str
    weight: Tensor
    importance: Floats = field(default_factory=lambda: np.ones((1, 1), np.float32))  # broadcast to the matrix
    scale: float = 1.0
    feedback: Feedback | None = None
    mask: Tensor | None = None
    rows: Tensor | None = None  # whole numbers from 1, int32, (rows,): steps of rows in those of the tensor

    @property
    def matrix(self) -> Tensor:
        """The weight as float32, (rows, columns), in units of `rows`; one row below rank 2."""
        weight = as_matrix(self.weight)
        return weight if self.rows is None else weight / self.rows[:, None]

    @cached_property
    def known(self) -> Magnitudes:
        """The sizes of the weights in units of `rows`."""
        return magnitudes(self.weight if self.rows is None else self.matrix)

    @property
    def floor(self) -> float:
        """The finest step that the file holds for these weights."""
        return max(self.known.largest / _LARGEST, torch.finfo(_kept(self)).tiny * 2)


@dataclass(frozen=True)
class Method:
    """How tensors are quantized: on which grid, and how hard the rate is pressed (0: plain rounding; 1: balance)."""

    dependent: bool = False
    rounding: float = 1.0
    model: RateModel = field(default_factory=ContextEntropy)  # where weights are not all rounded alike

    @property
    def by_size(self) -> bool:
        """Whether the bits of a level go by its size alone where all errors of a tensor count alike."""
        return self.rounding > 0 and not self.dependent


def as_matrix(weight: Tensor) -> Tensor:
    """The weight as float32 on the CPU, (rows, columns); one row below rank 2."""
    weight = weight.detach().float().cpu()
    return weight.reshape(weight.shape[0] if weight.dim() > 1 else 1, -1)


def steps_of_rows(weight: Tensor, power: float) -> Tensor | None:
    """Whole numbers, int32, (rows,), about as the root mean squares of the rows to this power; None if all are alike.

    They are coarse, some three bits a row: levels are chosen when the steps are known, so their rounding is no error.
    """
    if not power:
        return None
    sizes = as_matrix(weight).square().mean(dim=1).double().sqrt()
    if len(sizes) < 2 or not bool((sizes > 0).any()):
        return None
    wanted = sizes.clamp(min=float(sizes.max()) * _SMALLEST) ** power
    unit = min(float(wanted.log().mean().exp()) / _USUAL_STEP, float(np.quantile(wanted.numpy(), _TAIL)))
    found = (wanted / unit).round().clamp(1, _LARGEST_STEP).to(torch.int32)
    return None if bool((found == found[0]).all()) else found


def encoded(target: Target, price: float, method: Method) -> Uniform:
    """The target, whose weights are finite, at this price."""
    if method.by_size and target.feedback is None and target.importance.size == 1:
        return _by_size(target, price, method)
    matrix = target.matrix.numpy()
    balanced = math.sqrt(price / (BALANCE * target.scale))
    if not method.rounding or not matrix.any():
        return _quantized(target, matrix, _stored(target, balanced), method, 1.0)
    finer = min(FINER, key=lambda part: _trial(target, matrix, balanced * part, method, part))
    return _quantized(target, matrix, _stored(target, balanced * finer), method, finer)


def _by_size(target: Target, price: float, method: Method) -> Uniform:
    """The same where every error of the tensor counts alike, with bits by size alone.

    Contexts would change the levels of real networks by less than a thousandth of the bytes, either way: of
    EfficientNet-lite0 the coder that has contexts makes less of levels that were rounded without them.
    """
    balanced = math.sqrt(price / (BALANCE * target.scale))

    def tried(part: float) -> tuple[float, scalar.Grid]:
        made = scalar.fitted(target.known, _stored(target, balanced * part), method.rounding * BALANCE / part**2)
        return part**2 * made.error + BALANCE * made.bits, made.grid

    _, grid = min((tried(part) for part in FINER), key=lambda pair: pair[0])
    symbols = grid.symbols(target.weight if target.rows is None else target.matrix, target.known.largest)
    if target.mask is not None:
        symbols = symbols * target.mask.cpu().reshape(-1).numpy()
    fields = (2 * (target.rows is not None), largest(symbols) + 1)  # form and alphabet, see encodings/uniform.py
    return Uniform.unpack(tuple(target.weight.shape), Packed(fields, (symbols,), (_steps(target, grid.step),)))


def _trial(target: Target, matrix: Floats, step: float, method: Method, part: float) -> float:
    """J of plain rate-aware rounding with this step, in units of the squared balanced step."""
    price = method.rounding * BALANCE / part**2
    x = matrix / np.float32(_stored(target, step))
    importance = _importance(target)
    levels = quantized(x, importance, price, method.model)
    error = float((importance * (x - levels) ** 2).sum())
    return part**2 * error + BALANCE * method.model.total(levels)


def _quantized(target: Target, matrix: Floats, step: float, method: Method, part: float) -> Uniform:
    importance, price = _importance(target), method.rounding * BALANCE / part**2
    if method.dependent:
        step, price = _stored(target, step * DEPENDENT_FINER), method.rounding * DEPENDENT_BALANCE / part**2
    if target.feedback is not None:
        weight = target.matrix.reshape(len(target.feedback.scale), -1, matrix.shape[1])
        with_feedback = dependent_compensated_quantized if method.dependent else compensated_quantized
        steps = torch.full(weight.shape[:2], step)
        levels = with_feedback(weight, steps, target.feedback, price, method.model)
    elif method.dependent:
        levels = dependent_quantized(matrix / np.float32(step), importance, price, method.model)
    else:
        levels = quantized(matrix / np.float32(step), importance, price, method.model)
    found = torch.from_numpy(np.ascontiguousarray(levels)).reshape(target.weight.shape)
    if target.mask is not None:
        found = found * target.mask.cpu()
    return Uniform(found, _steps(target, step), method.dependent)


def _steps(target: Target, step: float) -> Encoding:
    single = Dense(torch.tensor([step], dtype=target.weight.dtype), _kept(target))
    return single if target.rows is None else Uniform(target.rows, single)


def _importance(target: Target) -> NDArray[np.float32]:
    if target.feedback is None:
        return target.importance
    rows = len(target.matrix) // len(target.feedback.scale)
    return target.feedback.energy.numpy().repeat(rows, axis=0)


def _stored(target: Target, step: float) -> float:
    """The step as the file keeps it, and fine enough that levels are not too large."""
    return float(torch.tensor(max(step, target.floor * 1.01)).to(_kept(target)).float())


def _kept(target: Target) -> torch.dtype:
    return _STORED if target.weight.dtype in (torch.float32, torch.float64) else target.weight.dtype
