"""What is known before anything was coded: logarithms, classes of magnitude, first probabilities.

native/entropy/context_model.hpp is the same in C++; names and order agree. All numbers are integers, so that every
machine gives the same.
"""

from dataclasses import dataclass, field

from featherweight.entropy._context_coder import HALF, bounded, chance

SCALES = 80  # classes of expected magnitude, two to the octave, from 1/4096 on
LOGS = SCALES * 8  # their logarithms in sixteenths
LARGE = 176  # half a level: from here on only kernels have neighbours that matter
ONE = 4096  # expected magnitudes are in 1/4096
PRIOR = 8  # magnitudes that the mean of the tensor counts for in each row and column
STEPS = 20  # a magnitude in units of 2^shift goes up to here one by one
SIGNS = 11  # classes of what the neighbours in a kernel say about a sign
NEAR = 7  # classes of how large neighbours are
SHARES = (0, 4096, 2048, 1365, 1024)  # 4096 / n
NEXT_STATE = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))  # of dependent quantization, by parity

_PRIOR_COUNT = 3  # bits that the first probabilities count for


def log_of(number: int) -> int:
    """The logarithm to base 2 in sixteenths of a number from 1 on: its exponent, then its next four bits."""
    exponent = number.bit_length() - 1
    mantissa = number >> exponent - 4 if exponent >= 4 else number << 4 - exponent
    return exponent * 16 + (mantissa & 15)


def number_of(log: int) -> int:
    """The smallest number of this logarithm, rounded down to a whole one."""
    exponent, mantissa = log >> 4, 16 + (log & 15)
    return mantissa << exponent - 4 if exponent >= 4 else mantissa >> 4 - exponent


@dataclass(frozen=True)
class Scale:
    """A class of expected magnitudes. Before anything is known, magnitudes fall geometrically."""

    expected: int  # the middle of the class, in 1/4096
    shift: int  # low bits that are coded apart: the least with expected / 2^shift <= 2.5
    some: int  # probability of not 0, in 2^-16
    more: int  # probability of another 2^shift, in 2^-16

    @classmethod
    def of(cls, number: int) -> "Scale":
        """The class of a number, 0..SCALES-1."""
        expected = number_of(number * 8 + 4)
        some = (expected << 16) // (expected + ONE)
        shift, more = 0, some
        while expected >> shift > ONE * 5 // 2:
            shift, more = shift + 1, more * more >> 16
        return cls(expected, shift, bounded(some), max(more, 8192))


TABLE = tuple(Scale.of(number) for number in range(SCALES))


def _by_scale(places: int, probability: str) -> list[int]:
    firsts = (chance(getattr(scale, probability), _PRIOR_COUNT) for scale in TABLE)
    return [first for first in firsts for _ in range(places)]


@dataclass
class Model:
    """All chances of a block, flat lists in row-major order; the 2 is for the two grids of dependent quantization."""

    some: list[int] = field(default_factory=lambda: _by_scale(2, "some"))  # magnitude is not 0; (SCALES, 2)
    some_near: list[int] = field(default_factory=lambda: [0] * (9 * 64 * 2))  # (shift, three neighbours, 2)
    more: list[int] = field(default_factory=lambda: _by_scale(2 * STEPS, "more"))  # (SCALES, 2, STEPS)
    more_near: list[int] = field(default_factory=lambda: [0] * (SIGNS * NEAR * 2 * STEPS))  # (agreement, size, 2, -)
    low: list[int] = field(default_factory=lambda: [HALF] * (SCALES * 4 * 4))  # two highest low bits; (scale, -, 4)
    sign: list[int] = field(default_factory=lambda: [chance(1 << 15, _PRIOR_COUNT)] * SIGNS)
    escape: list[int] = field(default_factory=lambda: [HALF] * 32)  # how long what is beyond the steps is
