"""Levels and bits: magnitudes whose size is foretold by their row, their column and their neighbours.

The reference; native/entropy/context_levels.hpp is the same in C++, names and order agree.

The magnitude at (r, j) is expected to be (mean of its row so far) * (mean of its column so far) / (mean of the tensor),
each mean drawn towards that of the tensor by PRIOR more magnitudes of it. Where levels are small, and in kernels at any
size, a quarter of the weight goes to the neighbours. The class of that expectation chooses the chances ("wide"); a
second opinion ("near") comes from the neighbours themselves. A magnitude is coded as: not 0? - sign - steps of 2^shift,
one by one - the low bits. Signs in kernels lean to that of the plane through the neighbours.
"""

from dataclasses import dataclass

from featherweight.entropy._context_coder import BinaryCoder
from featherweight.entropy._context_model import (
    LARGE,
    LOGS,
    NEAR,
    NEXT_STATE,
    ONE,
    PRIOR,
    SCALES,
    SHARES,
    SIGNS,
    STEPS,
    TABLE,
    Model,
    Scale,
    log_of,
    number_of,
)

LEVELS, BITS, CLASSES = range(3)


@dataclass(frozen=True)
class Geometry:
    """What the symbols of a block are, and the tensor that they come from. All sizes are at least 1."""

    kind: int  # LEVELS, BITS or CLASSES
    alphabet: int  # at most 2^32; 2 for bits
    columns: int = 1  # of a row; a block is whole rows, or a part of one
    kernel: int = 1  # weights of a filter's kernel that follow each other in a row
    width: int = 1  # of a row of that kernel
    trellis: int = 0  # symbols after which the state of dependent quantization starts anew; 0: not dependent
    flat: bool = True  # the tensor has one row only
    mean: int = 1  # magnitude to start from, in 1/4096


@dataclass(frozen=True)
class _Near:
    """Levels before one that count, 0 where there is none, and how many of left, above, before and up there are."""

    left: int = 0  # in the row of the kernel (or of the tensor)
    above: int = 0  # in the row before of the kernel
    corner: int = 0  # left of `above`
    before: int = 0  # at the same place of the channel before (two to the left where there are no kernels)
    up: int = 0  # in the row before of the tensor
    count: int = 0


@dataclass(frozen=True)
class _Guess:
    """A class of magnitude, and how large the neighbours are in units of 2^shift, at most 3; None: not asked."""

    number: int
    scale: Scale
    units: tuple[int, int, int] | None = None  # left, up, before or above


class Levels:
    """Codes a block row by row."""

    def __init__(self, coder: BinaryCoder, geometry: Geometry) -> None:
        self._coder, self._geometry = coder, geometry
        self._model = Model()
        self._sums = [0] * geometry.columns  # of magnitudes, by column
        self._up: list[int] = []  # the row before
        self._row: list[int] = []
        self._sum = self._number = self._since = self._state = 0
        self.broken = False

    def row(self, given: list[int]) -> list[int]:
        """One row of levels, at most `columns`; a decoder does not look at what it is given, but for how many."""
        geometry = self._geometry
        prior = PRIOR * geometry.mean
        self._row, self._sum = [], prior
        base = -log_of(self._number + PRIOR) - log_of(geometry.mean)
        for j, level in enumerate(given):
            mean = log_of(self._sum) - log_of(j + PRIOR) + log_of((self._sums[j] << 12) + prior)
            found = self._level(j, min(max(mean + base, 0), LOGS - 1), level)
            if self.broken:
                break
            self._follow(j, found)
        self._up, self._number = self._row, self._number + 1
        return self._row

    def _level(self, j: int, log: int, given: int) -> int:
        expected = number_of(log)
        if self._geometry.kernel == 1 and log >= LARGE:
            return self._coded(_guessed(expected), _Near(), given)
        near = self._neighbours(j)
        if near.count:
            sizes = abs(near.left) + abs(near.above) + abs(near.before) + abs(near.up)
            expected = expected - (expected >> 2) + (sizes * SHARES[near.count] >> 2)
        guess = _guessed(max(expected, 1))
        sizes_of = (abs(near.left), abs(near.up), max(abs(near.before), abs(near.above)))
        left, up, before = (min(size >> guess.scale.shift, 3) for size in sizes_of)
        return self._coded(_Guess(guess.number, guess.scale, (left, up, before)), near, given)

    def _neighbours(self, j: int) -> _Near:
        kernel, width = self._geometry.kernel, self._geometry.width
        row, has_up = self._row, self._number > 0
        up = self._up[j] if has_up else 0
        if kernel == 1:
            left, before = row[j - 1] if j > 0 else 0, row[j - 2] if j > 1 else 0
            return _Near(left, 0, 0, before, up, (j > 0) + (j > 1) + has_up)
        place = j % kernel
        has_left, has_above, has_before = place % width > 0, place >= width, j >= kernel
        return _Near(
            left=row[j - 1] if has_left else 0,
            above=row[j - width] if has_above else 0,
            corner=row[j - width - 1] if has_left and has_above else 0,
            before=row[j - kernel] if has_before else 0,
            up=up,
            count=has_left + has_above + has_before + has_up,
        )

    def _coded(self, guess: _Guess, near: _Near, given: int) -> int:
        coder, model, grid = self._coder, self._model, self._state & 1
        wide = model.some, guess.number * 2 + grid
        if guess.units is None:
            some = coder.one(*wide, int(given != 0))
        else:
            left, up, before = guess.units
            place = (min(guess.scale.shift, 8) * 64 + left * 16 + up * 4 + before) * 2 + grid
            some = coder.both(wide, (model.some_near, place), int(given != 0))
        if not some or self._geometry.kind == BITS:
            return some
        around, negative = self._sign(guess, near, int(given < 0))
        size = self._magnitude(guess, around, abs(given) - 1) + 1
        self.broken = self.broken or size > (1 << 31) - 1 + negative
        return -size if negative else size

    def _sign(self, guess: _Guess, near: _Near, given: int) -> tuple[int, int]:
        """The class of neighbours that the magnitude asks, and whether the level is negative."""
        if guess.units is None:
            if self._geometry.flat:
                return 0, self._coder.one(self._model.sign, SIGNS // 2, given)
            return 0, self._coder.plain(1, given)
        leaning = self._leaning(guess, near)
        negative = self._coder.one(self._model.sign, leaning, given)
        agreement = SIGNS - 1 - leaning if negative else leaning
        return agreement * NEAR + min(sum(guess.units), NEAR - 1), negative

    def _leaning(self, guess: _Guess, near: _Near) -> int:
        """What the neighbours foretell of the sign: 0 (surely negative) .. 10 (surely positive)."""
        kernel = self._geometry.kernel > 1
        fourfold = 2 * (near.left + near.above) - near.corner if kernel else 2 * (near.left + near.up)
        unit = 4 * guess.scale.expected
        steps = min((min(abs(fourfold), 1 << 40) * 3 * ONE + unit // 2) // unit, SIGNS // 2)
        return SIGNS // 2 + (-steps if fourfold < 0 else steps)

    def _magnitude(self, guess: _Guess, around: int, given: int) -> int:
        """A magnitude less one."""
        coder, model, grid, shift = self._coder, self._model, self._state & 1, guess.scale.shift
        high, steps = given >> shift, 0
        while steps < STEPS:
            wide = model.more, (guess.number * 2 + grid) * STEPS + steps
            near = model.more_near, (around * 2 + grid) * STEPS + steps
            bit = int(high > steps)
            if not (coder.one(*wide, bit) if guess.units is None else coder.both(wide, near, bit)):
                break
            steps += 1
        if steps == STEPS:
            steps += self._beyond(high - STEPS)
        return steps << shift | self._low_bits(guess, min(steps, 3), given) if shift else steps

    def _low_bits(self, guess: _Guess, steps: int, given: int) -> int:
        coder, low, place = self._coder, self._model.low, (guess.number * 4 + steps) * 4
        left = guess.scale.shift - 1
        bits = coder.one(low, place + (self._state & 1), given >> left & 1)
        if left > 1:
            left -= 1
            bits = bits * 2 + coder.one(low, place + 2 + bits, given >> left & 1)
        return bits << left | coder.plain(left, given & (1 << left) - 1)

    def _beyond(self, given: int) -> int:
        """Elias gamma: how many bits the number plus one has, then those below the highest."""
        bits = 0
        while bits < 31 and self._coder.one(self._model.escape, bits, int(given + 1 >> bits + 1 != 0)):
            bits += 1
        return (1 << bits | self._coder.plain(bits, given + 1 & (1 << bits) - 1)) - 1

    def _follow(self, j: int, level: int) -> None:
        self._row.append(level)
        size = abs(level)
        self._sum += size << 12
        self._sums[j] += size
        if self._geometry.trellis:
            self._state = NEXT_STATE[self._state][size & 1]
            self._since += 1
            if self._since == self._geometry.trellis:
                self._since = self._state = 0


def _guessed(expected: int) -> _Guess:
    number = min(log_of(expected) >> 3, SCALES - 1)
    return _Guess(number, TABLE[number])
