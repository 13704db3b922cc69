"""Coder 4 after docs/format.md alone: shares no code with featherweight, so that the page and it check each other.

Names are those of the page.
"""

import math
from collections.abc import Callable, Hashable

Chance = tuple[int, int]
NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))


def cut(number: int, least: int, most: int) -> int:
    return max(least, min(most, number))


def logarithm(x: int) -> int:
    e = x.bit_length() - 1
    return 16 * e + (16 * x // 2**e) % 16


def inverse(log: int) -> int:
    return (16 + log % 16) * 2 ** (log // 16) // 16


E = [inverse(8 * s + 4) for s in range(80)]
H = [next(h for h in range(99) if e // 2**h <= 10240) for e in E]
SOME = [65536 * e // (e + 4096) for e in E]


def more(s: int) -> int:
    x = SOME[s]
    for _ in range(H[s]):
        x = x * x // 65536
    return max(x, 8192)


class Table(dict[Hashable, Chance]):
    """Chances, made when they are asked for the first time."""

    def __init__(self, first: Callable[[Hashable], Chance]) -> None:
        self.first = first

    def __missing__(self, key: Hashable) -> Chance:
        self[key] = self.first(key)
        return self[key]


class Bits:
    """The range coder over the bytes of a block."""

    def __init__(self, data: bytes) -> None:
        self.data, self.taken, self.last = data, 0, 0
        self.code = self.take(8)
        self.range = 2**64 - 1
        assert self.code < self.range

    def take(self, count: int) -> int:
        found = int.from_bytes(self.data[self.taken : self.taken + count].ljust(count, b"\0"), "big")
        self.taken += count
        self.last = (self.last * 256**count + found) % 2**64
        return found

    def move(self) -> None:
        if self.range < 2**32:
            self.range, self.code = self.range * 2**32, self.code * 2**32 + self.take(4)

    def bit(self, p: int) -> int:
        b = self.range // 65536 * cut(p, 24, 65512)
        found = int(self.code < b)
        self.code, self.range = (self.code, b) if found else (self.code - b, self.range - b)
        self.move()
        return found

    def plain(self, k: int) -> int:
        found = 0
        while k:
            part = min(k, 16)
            k -= part
            self.range //= 2**part
            number = self.code // self.range
            assert number < 2**part
            self.code -= number * self.range
            self.move()
            found = found * 2**part + number
        return found

    def one(self, x: Table, i: Hashable) -> int:
        found = self.bit(x[i][0] // 64)
        learn(x, i, found)
        return found

    def both(self, x: Table, i: Hashable, y: Table, j: Hashable) -> int:
        if not y[j][1]:
            y[j] = (x[i][0], 2)
        found = self.bit((x[i][0] // 64 + y[j][0] // 64) // 2)
        learn(x, i, found)
        learn(y, j, found)
        return found

    def end(self) -> None:
        low = (self.last - self.code) % 2**64
        z = next(z for z in (8, 7, 6, 5, 4) if -low % 256**z < self.range)
        assert (len(self.data), self.code) == (self.taken - z, -low % 256**z)


def learn(x: Table, i: Hashable, bit: int) -> None:
    p, c = x[i]
    x[i] = p + ((2**22 - 1) * bit - p) * (131072 // (2 * c + 3)) // 65536, min(c + 1, 1023)


class Levels:
    """Levels or bits of one block of a tensor of C columns, kernels of K places in rows of W."""

    def __init__(self, data: bytes, tensor: tuple[int, int, int, bool], mean: int, signed: bool, trellis: int) -> None:
        self.bits = Bits(data)
        (self.C, self.K, self.W, self.flat), self.m, self.signed, self.trellis = tensor, mean, signed, trellis
        self.A = Table(lambda key: (64 * cut(SOME[key[0]], 24, 65512), 3))
        self.M = Table(lambda key: (64 * more(key[0]), 3))
        self.B, self.D = Table(lambda _: (0, 0)), Table(lambda _: (0, 0))
        self.low, self.escape = Table(lambda _: (2**21, 0)), Table(lambda _: (2**21, 0))
        self.sign = Table(lambda _: (2**21, 3))
        self.columns, self.up = [0] * self.C, None
        self.r = self.a = self.state = self.since = 0

    def all(self, count: int) -> list[int]:
        found = []
        while len(found) < count:
            row, self.a = [], 0
            for j in range(min(self.C, count - len(found))):
                row.append(self.level(row, j))
                self.a += abs(row[j])
                self.columns[j] += abs(row[j])
                self.follow(row[j])
            self.up, self.r = row, self.r + 1
            found += row
        self.bits.end()
        return found

    def follow(self, level: int) -> None:
        if self.trellis:
            self.state = NEXT[self.state][level % 2]
            self.since += 1
            if self.since == self.trellis:
                self.since = self.state = 0

    def level(self, row: list[int], j: int) -> int:
        prior = 8 * self.m
        log = logarithm(prior + 4096 * self.a) - logarithm(j + 8) - logarithm(self.r + 8)
        log = cut(log + logarithm(prior + 4096 * self.columns[j]) - logarithm(self.m), 0, 639)
        e, near = inverse(log), None
        if self.K > 1 or log < 176:
            near = self.neighbours(row, j)
            there = [size for size in (*near[:2], *near[3:]) if size is not None]
            if there:
                e = e - e // 4 + sum(map(abs, there)) * (4096 // len(there)) // 4
            near = [number or 0 for number in near]
        return self.coded(min(logarithm(max(e, 1)) // 8, 79), near)

    def neighbours(self, row: list[int], j: int) -> list[int | None]:
        """left, above, corner, before, up"""
        up = self.up[j] if self.r else None
        if self.K == 1:
            return [row[j - 1] if j else None, None, None, row[j - 2] if j > 1 else None, up]
        q = j % self.K
        left = row[j - 1] if q % self.W else None
        above = row[j - self.W] if q >= self.W else None
        corner = row[j - self.W - 1] if q % self.W and q >= self.W else None
        return [left, above, corner, row[j - self.K] if j >= self.K else None, up]

    def coded(self, s: int, near: list[int] | None) -> int:
        bits, g, h = self.bits, self.state % 2, H[s]
        if near is None:
            if not bits.one(self.A, (s, g)):
                return 0
        else:
            left, above, corner, before, up = near
            u, v, w = (min(size >> h, 3) for size in (abs(left), abs(up), max(abs(before), abs(above))))
            if not bits.both(self.A, (s, g), self.B, (min(h, 8), 16 * u + 4 * v + w, g)):
                return 0
        if not self.signed:
            return 1
        k = 0
        if near is None:
            negative = bits.one(self.sign, 5) if self.flat else bits.plain(1)
        else:
            f = 2 * (left + up) if self.K == 1 else 2 * (left + above) - corner
            t = min((12288 * min(abs(f), 2**40) + 2 * E[s]) // (4 * E[s]), 5)
            i = 5 + t if f >= 0 else 5 - t
            negative = bits.one(self.sign, i)
            k = 7 * (10 - i if negative else i) + min(u + v + w, 6)
        size = self.size(s, g, None if near is None else k)
        return -size if negative else size

    def size(self, s: int, g: int, k: int | None) -> int:
        bits, h, x = self.bits, H[s], 0
        while x < 20 and (
            bits.one(self.M, (s, g, x)) if k is None else bits.both(self.M, (s, g, x), self.D, (k, g, x))
        ):
            x += 1
        if x == 20:
            y = 0
            while y < 31 and bits.one(self.escape, y):
                y += 1
            x = 19 + 2**y + bits.plain(y)
        rest = 0
        if h:
            rest, left = bits.one(self.low, (s, min(x, 3), g)), h - 1
            if h > 2:
                rest, left = 2 * rest + bits.one(self.low, (s, min(x, 3), 2 + rest)), left - 1
            rest = rest * 2**left + bits.plain(left)
        return 1 + 2**h * x + rest


def classes(data: bytes, count: int, alphabet: int) -> list[int]:
    bits, k, found = Bits(data), 0, []
    wide, near, head = Table(lambda _: (2**21, 1)), Table(lambda _: (0, 0)), Table(lambda _: (2**21, 1))
    t = (alphabet - 1).bit_length()
    depth = t if t <= 8 else 6
    for _ in range(count):
        node = 1
        for _ in range(depth):
            node = 2 * node + bits.both(wide, node, near, (k, node))
        symbol = node - 2**depth
        k = symbol // 2 ** max(t - 3, 0) if t <= 8 else symbol // 8
        if t > 8 and symbol > 1:
            length, node = symbol, 1
            for _ in range(min(3, length - 1)):
                node = 2 * node + bits.one(head, (length, node))
            left = max(length - 4, 0)
            symbol = node * 2**left + bits.plain(left)
        found.append(symbol)
    bits.end()
    return found


def decode(data: bytes, n: int, alphabet: int, shape: tuple[int, ...], signed: bool, trellis: int) -> list[int]:
    """The symbols of a stream."""
    numeric = signed or alphabet == 2
    at, block, tensor, mean = 0, 2**19, (1, 1, 1, True), 1
    if numeric:
        at, mean = 1, max(inverse(4 * data[0]), 1)
        tensor = (n, 1, 1, True)
        if len(shape) > 1:
            tensor = (n // shape[0], math.prod(shape[2:]), shape[-1] if len(shape) > 2 else 1, shape[0] == 1)
        if tensor[0] > 2**19:
            tensor = (2**19, 1, 1, True)
        block = 2**19 // tensor[0] * tensor[0]
    sizes = []
    while len(sizes) < -(-n // block) - 1:
        end = next(place for place in range(at, at + 5) if data[place] < 128) + 1
        sizes.append(sum(byte % 128 << 7 * place for place, byte in enumerate(data[at:end])))
        at = end
    found: list[int] = []
    for size in [*sizes, len(data)]:
        part, at = data[at : at + size], at + size
        count = min(block, n - len(found))
        found += Levels(part, tensor, mean, signed, trellis).all(count) if numeric else classes(part, count, alphabet)
    if numeric:
        total = sum(map(abs, found))
        assert data[0] == min(logarithm(max(4096 * total // n, 1)) // 4, 159)
    return [-2 * level - 1 if level < 0 else 2 * level for level in found] if signed else found
