"""A binary range coder and the chances that it is told; native/entropy/context_coder.hpp is the same in C++.

A number between 0 and 1 stands for all bits. `low` and `range` say where it lies: 64 bits of it at a time, moved on
by 32 bits whenever `range` falls below 2^32. A chance is the probability of a 1 that the bits so far make likely, and
how many bits these are: chance = probability (in 2^-22) * 2^10 + count.

G. N. N. Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", 1979. Chances that
begin fast and slow down as they have seen more: as usual in context mixing (M. Mahoney, "Adaptive weighing of context
models for lossless data compression", 2005).
"""

from abc import ABC, abstractmethod

MAX_COUNT = (1 << 10) - 1
HALF = 1 << 31
LEAST, MOST = 24, 65536 - 24  # probability of a 1, in 2^-16, that the coder is told

_MASK = (1 << 64) - 1
_ONE = (1 << 22) - 1


def chance(probability: int, count: int) -> int:
    """A chance: a probability in 2^-16, as if learned from `count` bits."""
    return probability << 16 | count


def learned(seen: int, bit: int) -> int:
    """The chance after one more bit: the probability moves by 1 / (count + 1.5) of the way."""
    count, probability = seen & MAX_COUNT, seen >> 10
    goal = _ONE if bit else 0
    probability += (goal - probability) * (131072 // (2 * count + 3)) >> 16
    return probability << 10 | min(count + 1, MAX_COUNT)


def bounded(probability: int) -> int:
    """The probability (in 2^-16) kept away from 0 and 1."""
    return min(max(probability, LEAST), MOST)


class BinaryCoder(ABC):
    """What encoder and decoder share, so that one description of the contexts serves both.

    Each method is given the value to code and gives it back; a decoder does not look at what it is given.
    """

    @abstractmethod
    def bit(self, probability: int, value: int) -> int:
        """A bit that is 1 with `probability` (24..65512, in 2^-16)."""

    @abstractmethod
    def plain_part(self, bits: int, value: int) -> int:
        """A number of 1..16 bits, each as likely 0 as 1."""

    def one(self, table: list[int], place: int, value: int) -> int:
        """A bit by the chance in `table[place]`, which learns from it."""
        value = self.bit(bounded(table[place] >> 16), value)
        table[place] = learned(table[place], value)
        return value

    def both(self, wide: tuple[list[int], int], near: tuple[list[int], int], value: int) -> int:
        """A bit by the mean of two opinions, tables and places. `near` that was never asked begins with `wide`'s."""
        first, a = wide
        second, b = near
        if not second[b] & MAX_COUNT:
            second[b] = first[a] & ~MAX_COUNT | 2
        value = self.bit(bounded(((first[a] >> 16) + (second[b] >> 16)) >> 1), value)
        first[a] = learned(first[a], value)
        second[b] = learned(second[b], value)
        return value

    def plain(self, bits: int, value: int) -> int:
        """The lowest `bits` bits of a number, 16 at a time, the highest first."""
        done = 0
        while bits > 0:
            part = min(bits, 16)
            bits -= part
            done = done << part | self.plain_part(part, value >> bits & (1 << part) - 1)
        return done


class Encoder(BinaryCoder):
    """Writes one block."""

    def __init__(self) -> None:
        self._low, self._range = 0, _MASK
        self._out = bytearray()

    def bit(self, probability: int, value: int) -> int:
        """See BinaryCoder."""
        bound = (self._range >> 16) * probability
        if value:
            self._range = bound
        else:
            self._add(bound)
            self._range -= bound
        self._move()
        return value

    def plain_part(self, bits: int, value: int) -> int:
        """See BinaryCoder."""
        self._range >>= bits
        self._add(self._range * value)
        self._move()
        return value

    def finish(self) -> bytes:
        """The block: of the numbers that decode, the one with the most zero bytes at its end, without those bytes.

        Bytes that have been moved on stay even if they are zero: so a block is as long as what it holds, to 4 bytes,
        and its length bounds its symbols.
        """
        more, zeros = _end(self._low, self._range)
        self._add(more)
        return bytes(self._out) + self._low.to_bytes(8, "big")[: 8 - zeros]

    def _add(self, amount: int) -> None:
        self._low += amount
        if self._low > _MASK:  # carry
            self._low &= _MASK
            place = len(self._out) - 1
            while self._out[place] == 255:
                self._out[place] = 0
                place -= 1
            self._out[place] += 1

    def _put(self) -> None:
        self._out += (self._low >> 32).to_bytes(4, "big")
        self._low = self._low << 32 & _MASK

    def _move(self) -> None:
        if self._range < 1 << 32:
            self._range <<= 32
            self._put()


class Decoder(BinaryCoder):
    """Reads one block; zeros follow its bytes. `broken` tells that no encoder wrote them."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = bytes(data)
        self._range = _MASK
        self._at = 0  # bytes taken
        self._window = self._next(8)
        self.broken = self._window == _MASK
        self._code = 0 if self.broken else self._window

    def bit(self, probability: int, value: int) -> int:
        """See BinaryCoder."""
        bound = (self._range >> 16) * probability
        value = int(self._code < bound)
        if value:
            self._range = bound
        else:
            self._code -= bound
            self._range -= bound
        self._move()
        return value

    def plain_part(self, bits: int, value: int) -> int:
        """See BinaryCoder."""
        self._range >>= bits
        value = self._code // self._range
        if value >> bits:
            self.broken = True
            value = self._code = 0
        self._code -= value * self._range
        self._move()
        return value

    @property
    def offset(self) -> int:
        """The byte behind those that were taken."""
        return min(self._at, len(self._data))

    def finished(self) -> bool:
        """Whether the bytes end as `Encoder.finish` ends them."""
        more, zeros = _end(self._window - self._code & _MASK, self._range)
        return not self.broken and more == self._code and len(self._data) == self._at - zeros

    def _next(self, count: int) -> int:
        taken = self._data[self._at : self._at + count].ljust(count, b"\0")
        self._at += count
        return int.from_bytes(taken, "big")

    def _move(self) -> None:
        if self._range < 1 << 32:
            self._range <<= 32
            word = self._next(4)
            self._code = self._code << 32 | word
            self._window = (self._window << 32 | word) & _MASK


def _end(low: int, span: int) -> tuple[int, int]:
    """What to add to `low` for the number in low..low+span-1 with the most zero bytes at its end; how many (4..8)."""
    for zeros in range(8, 4, -1):
        more = -low & (1 << 8 * zeros) - 1
        if more < span:
            return more, zeros
    return -low & (1 << 32) - 1, 4  # span is never less than 2^32
