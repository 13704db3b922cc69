"""What rANS knows of a stream: which symbols share a class, how frequent each class is, and how both are written.

Classes. Symbols below 2^split are a class each. The others are told apart by their highest bits: with k = floor(log2
s), symbol s belongs to class 2^split + (k - split) 2^sub + the `sub` bits below its highest one, and its k - sub
lowest bits are written as they are. So rare large levels cost few classes, and there are never more than 256.

Frequencies. Of n symbols, c in a class give the weight w = c 4096 / n, rounded half up, 1..4095, and then rounded to
its highest 1 + digits bits, half up (4095 cut off where that would be 4096). *Grades* number the weights that are
left, in order: w itself while w < 2^(digits + 1), from there on 2^digits for each power of two; a class without
symbols has grade 0. The frequencies, which sum to exactly 4096, follow from the weights of the K classes that occur:
with R = 4096 - K, V the sum of all w - 1, and S the sum of those before,

    frequency = 1 + floor((S + w - 1) R / V) - floor(S R / V)

Grammar of the table, most significant bit first:

    table   = split (4 bits) | sub (2) | digits (3) | flat (1) | classes - 1 (8) | first (digits + 4) | more*
    first   = the grade of class 0
    more    = rice(z) for each later class, z = its grade less the one that is expected, counted as 0, +1, -1, +2, -2,
              ... = 0, 1, 2, 3, 4, ...
              Each grade 0, also the first, is followed by gamma(r) and stands for r classes in a row
    rice(z) = z >> k zero bits, a one bit, the k low bits of z; k is the smallest with N 2^k >= A. A = 4 and N = 1 at
              first; then A grows by z and N by 1, and both are halved, rounded down, when N reaches 16
    gamma(r)= floor(log2 r) zero bits, then r

The last class occurs. With flat = 1 the grade of the class before is expected. With flat = 0 the one two places back,
g2, since there lies the next smaller level of the same sign; from class 6 on g2 + floor((g2 - g6) / 2), within 0 and
the largest grade, g6 being the one six places back; for class 1 the first grade.

Choice. digits = floor((bits of floor(n / K) - 4) / 2), within 0..7: a grade is about as coarse as a count is
uncertain. split is at most the smallest with which every symbol is a class of its own, and at most 8 (only if all
symbols are below 256); sub is at most 2 and at most split. A writer takes the (split, sub, flat) that takes the
fewest bits for table and symbols, and 1/64 bit for each symbol with bits of its own, which take time; of equals the
first in this order. A symbol takes 12 - log2(frequency) bits and those of its own; logarithms are those of
`_logarithms`, exact integers.

The adaptive Rice code is that of LOCO-I: M. J. Weinberger, G. Seroussi and G. Sapiro, "The LOCO-I lossless image
compression algorithm", 2000.
"""

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from featherweight.entropy._bits import BitReader, BitWriter
from featherweight.entropy.base import Symbols
from featherweight.entropy.tables import Counts
from featherweight.errors import FormatError

PRECISION = 12
TOTAL = 1 << PRECISION  # the sum of all frequencies
BINS = 304  # symbols below 256, then four for each power of two up to 2^20

_MAX_SPLIT, _MAX_SUB, _MAX_DIGITS, _MAX_CLASSES, _SYMBOL_BITS = 8, 2, 7, 256, 20
_FRACTION = 16  # bits of a logarithm behind the point
_TIME = 1 << (_FRACTION - 6)  # what a symbol with bits of its own costs beside them: 1/64 bit


@dataclass(frozen=True)
class Model:
    """All that the table says."""

    split: int  # symbols below 2^split are a class each
    sub: int  # bits below the highest one that tell classes of larger symbols apart
    digits: int  # bits of a weight below its highest one
    flat: bool  # expect the grade before
    grades: tuple[int, ...]  # of each class, 0 for one without symbols; the last is not 0


def bins(symbols: Symbols) -> NDArray[np.uint16]:
    """The number of each symbol's bin, 0..303: bins are the finest classes that any model tells apart."""
    numbers = symbols.astype(np.int64)
    powers = _powers(numbers)
    quarters = (numbers >> np.maximum(powers - 2, 0)) & 3
    return np.where(numbers < 256, numbers, 256 + 4 * (powers - 8) + quarters).astype(np.uint16)


def classes(symbols: Symbols, split: int, sub: int) -> NDArray[np.int64]:
    """The class of each symbol."""
    numbers = symbols.astype(np.int64)
    powers = _powers(numbers)
    parts = (numbers >> np.maximum(powers - sub, 0)) & ((1 << sub) - 1)
    return np.where(numbers < 1 << split, numbers, (1 << split) + ((powers - split) << sub) + parts)


def lowest(number: int, split: int, sub: int) -> tuple[int, int]:
    """The lowest symbol of a class, and how many bits tell its symbols apart."""
    if number < 1 << split:
        return number, 0
    power, part = divmod(number - (1 << split), 1 << sub)
    own = split + power - sub
    return ((1 << sub) + part) << own, own


def frequencies(model: Model) -> list[int]:
    """Of each class; their sum is 4096.

    Raises: FormatError (E_ANS) for weights of which none is above 1.
    """
    above = [_weight(grade, model.digits) - 1 for grade in model.grades]
    room, total = TOTAL - sum(grade > 0 for grade in model.grades), sum(max(item, 0) for item in above)
    if total == 0:
        raise FormatError("E_ANS", "the frequencies are not those of a writer", value=0)
    found, before = [], 0
    for item in above:
        behind = before + max(item, 0)
        found.append(0 if item < 0 else 1 + behind * room // total - before * room // total)
        before = behind
    return found


def choose(counts: Counts) -> Model:
    """The model of a stream with `counts` symbols in each bin, shape (304,), at least two in all."""
    used = np.flatnonzero(counts)
    starts = np.concatenate([np.arange(256), (4 + np.arange(48) % 4) << (6 + np.arange(48) // 4)])[used].astype(
        np.uint32
    )
    least, found = 1 << 63, Model(0, 0, 0, False, ())
    for split in range(min(int(starts[-1]).bit_length(), _MAX_SPLIT) + 1):
        if split == _MAX_SPLIT and int(starts[-1]) >= 256:
            break
        for sub in range(min(split, _MAX_SUB) + 1):
            model, symbols = _fit(counts[used], starts, split, sub)
            for flat in (False, True) if symbols < least else ():
                writer, model = BitWriter(), replace(model, flat=flat)
                write(model, writer)
                cost = symbols + (writer.position << _FRACTION)
                if cost < least:
                    least, found = cost, model
    return found


def write(model: Model, writer: BitWriter) -> None:
    """Appends the table."""
    for value, width in ((model.split, 4), (model.sub, 2), (model.digits, 3), (int(model.flat), 1)):
        writer.put(value, width)
    writer.put(len(model.grades) - 1, 8)
    rice, at = _Rice(), 0
    for grade, run in groupby(model.grades):
        length = len(list(run))
        for place in range(at, at + (length if grade else 1)):
            if place == 0:
                writer.put(grade, model.digits + 4)
                continue
            difference = grade - _expected(model.grades, place, model)
            folded = 2 * difference - 1 if difference > 0 else -2 * difference
            k = rice.width(folded)
            writer.put(1 << k | folded & ((1 << k) - 1), (folded >> k) + 1 + k)
        if not grade:
            writer.put(length, 2 * length.bit_length() - 1)
        at += length


def read(reader: BitReader, alphabet: int) -> Model:
    """Reads a table.

    Raises: FormatError (E_COUNT: it ends early; E_INDEX: a class outside the alphabet; E_ANS: not one of a writer).
    """
    split, sub, digits, flat, last = (reader.take(width) for width in (4, 2, 3, 1, 8))
    if split > _MAX_SPLIT or sub > min(split, _MAX_SUB):
        raise _broken("no such classes", reader, (split, sub))
    start = lowest(last, split, sub)[0]
    if start >= alphabet:
        raise FormatError("E_INDEX", f"a class outside the alphabet of {alphabet}", value=start)
    model = Model(split, sub, digits, bool(flat), ())
    grades: list[int] = []
    rice = _Rice()
    while len(grades) <= last:
        grade = _next_grade(reader, grades, model, rice) if grades else reader.take(digits + 4)
        if not 0 <= grade <= _largest(digits):
            raise _broken("no such grade", reader, grade)
        run = 1 if grade else _gamma(reader)
        if not grade and len(grades) + run > last:
            raise _broken("the last class does not occur", reader, run)
        grades += [grade] * run
    return Model(split, sub, digits, bool(flat), tuple(grades))


def _next_grade(reader: BitReader, grades: list[int], model: Model, rice: "_Rice") -> int:
    k = rice.k()
    high = _zeros(reader, 2 * _largest(model.digits))
    folded = high << k | reader.take(k)
    rice.width(folded)
    return _expected(grades, len(grades), model) + ((folded + 1) // 2 if folded % 2 else -(folded // 2))


def _fit(counts: Counts, starts: Symbols, split: int, sub: int) -> tuple[Model, int]:
    """The model of these classes, and what the symbols cost in 2^-16 bits. `starts`: the lowest symbol of each bin."""
    numbers = classes(starts, split, sub)
    in_class = np.bincount(numbers, counts, int(numbers[-1]) + 1).astype(np.int64)  # doubles are exact up to 2^53
    total, used = int(counts.sum()), int(np.count_nonzero(in_class))
    digits = min(max(((total // used).bit_length() - 4) // 2, 0), _MAX_DIGITS)
    model = Model(split, sub, digits, False, tuple(_grade(count, total, digits) for count in in_class.tolist()))
    cost = 0
    for number, (count, frequency) in enumerate(zip(in_class.tolist(), frequencies(model), strict=True)):
        own = lowest(number, split, sub)[1]
        bits = (own + PRECISION << _FRACTION) - int(_LOGARITHMS[frequency])
        cost += count * (bits + (_TIME if own else 0))
    return model, cost


def _grade(count: int, total: int, digits: int) -> int:
    if count == 0:
        return 0
    weight = min(max((2 * TOTAL * count + total) // (2 * total), 1), TOTAL - 1)
    low = max(weight.bit_length() - 1 - digits, 0)
    weight = min(weight + (1 << low >> 1), TOTAL - 1)
    low = max(weight.bit_length() - 1 - digits, 0)
    return (low << digits) + (weight >> low)


def _weight(grade: int, digits: int) -> int:
    low = max((grade >> digits) - 1, 0)
    return grade - (low << digits) << low


def _largest(digits: int) -> int:
    return _grade(1, 1, digits)


def _expected(grades: tuple[int, ...] | list[int], place: int, model: Model) -> int:
    """The grade that is expected at a place, from those before it."""
    if model.flat or place == 1:
        return grades[place - 1]
    near = grades[place - 2]
    if place < 6:
        return near
    return min(max(near + ((near - grades[place - 6]) >> 1), 0), _largest(model.digits))


class _Rice:
    """The parameter of a Rice code, from the numbers that it wrote before."""

    def __init__(self) -> None:
        self._sum, self._count = 4, 1

    def k(self) -> int:
        """For the next number."""
        k = 0
        while self._count << k < self._sum:
            k += 1
        return k

    def width(self, number: int) -> int:
        """For this number, which then counts."""
        k = self.k()
        self._sum, self._count = self._sum + number, self._count + 1
        if self._count == 16:
            self._sum, self._count = self._sum >> 1, 8
        return k


def _logarithms() -> NDArray[np.int64]:
    """log2 of 1..4096 in 2^-16, cut off, bit by bit through squares of 32 bits that are cut off too. 0 is unused."""
    numbers = np.arange(TOTAL + 1, dtype=np.uint64)
    whole = _powers(numbers.astype(np.int64)).astype(np.uint64)
    mantissa, fraction = numbers << (np.uint64(31) - whole), np.zeros_like(numbers)
    for _ in range(_FRACTION):
        mantissa = mantissa * mantissa >> np.uint64(31)
        bit = mantissa >> np.uint64(32)
        fraction = fraction << np.uint64(1) | bit
        mantissa >>= bit
    return (whole << np.uint64(_FRACTION) | fraction).astype(np.int64)


def _powers(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2) of numbers below 2^52; 0 for 0. Doubles hold them exactly, and frexp only reads their exponent."""
    powers: NDArray[np.int32] = np.frexp(numbers.astype(np.float64))[1]
    return np.maximum(powers.astype(np.int64) - 1, 0)


def _gamma(reader: BitReader) -> int:
    width = _zeros(reader, PRECISION)
    return 1 << width | reader.take(width)


def _zeros(reader: BitReader, limit: int) -> int:
    """How many 0 bits come before the next 1 bit, which is read too."""
    count = 0
    while reader.take(1) == 0:
        count += 1
        if count > limit:
            raise _broken("a run of zero bits is too long", reader, count)
    return count


def _broken(what: str, reader: BitReader, value: object) -> FormatError:
    return FormatError("E_ANS", what, offset=reader.position // 8, value=value)


_LOGARITHMS = _logarithms()
