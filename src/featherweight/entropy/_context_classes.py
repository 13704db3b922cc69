"""Symbols that are no numbers: bit by bit down a tree, beside the symbol before.

The reference; native/entropy/context_classes.hpp is the same in C++, names and order agree. Symbols of more than
8 bits are coded by their length in bits, then the bits behind the highest, of which the first three are learned.
"""

from featherweight.entropy._context_coder import BinaryCoder, chance

TREE_BITS = 8
LENGTH_BITS = 6
HEAD_BITS = 3
KINDS = 8  # of symbols before: their first three bits, or an eighth of their length


class Classes:
    """Codes a block symbol by symbol."""

    def __init__(self, coder: BinaryCoder, alphabet: int) -> None:
        self._coder = coder
        self._bits = max((alphabet - 1).bit_length(), 1)
        self._depth = self._bits if self._bits <= TREE_BITS else LENGTH_BITS
        self._before = 0
        self._wide = [chance(1 << 15, 1)] * (1 << self._depth)
        self._near = [0] * (KINDS << self._depth)
        self._heads = [chance(1 << 15, 1)] * (64 << HEAD_BITS)
        self.broken = False

    def symbol(self, given: int) -> int:
        """One symbol; a decoder does not look at what it is given."""
        if self._bits <= TREE_BITS:
            found = self._tree(given)
            self._before = found >> max(self._depth - 3, 0)
            return found
        length = self._tree(given.bit_length())
        self._before = length // 8
        if length > 32:
            self.broken = True
            return 0
        return self._tail(length, given) if length > 1 else length

    def _tree(self, given: int) -> int:
        node = 1
        for left in reversed(range(self._depth)):
            near = self._near, (self._before << self._depth) + node
            node = node * 2 + self._coder.both((self._wide, node), near, given >> left & 1)
        return node - (1 << self._depth)

    def _tail(self, length: int, given: int) -> int:
        """The bits behind the highest of a symbol of `length` bits."""
        left, node = length - 1, 1
        for _ in range(min(HEAD_BITS, left)):
            left -= 1
            node = node * 2 + self._coder.one(self._heads, (length << HEAD_BITS) + node, given >> left & 1)
        return node << left | self._coder.plain(left, given & (1 << left) - 1)
