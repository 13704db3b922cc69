"""Interleaved rANS symbol by symbol: the code that says which bytes are right. See rans.py for the grammar.

The native coder gives the same bytes some hundred times faster.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np

from featherweight.entropy import _rans_model as models
from featherweight.entropy._bits import BitReader, BitWriter
from featherweight.entropy._rans_model import PRECISION, TOTAL, Model
from featherweight.entropy.base import Symbols
from featherweight.entropy.tables import histogram, symbol_type
from featherweight.errors import FormatError

BLOCK = 1 << 18  # symbols
LOW = 1 << 16  # between symbols states are LOW..2^32-1; an encoder begins with LOW, and a decoder ends there

_SIZE_BYTES, _STATE_BYTES, _WORD_BYTES = 3, 4, 2
_MAX_LANES, _SYMBOLS_A_LANE = 32, 1 << 13


def lanes(count: int) -> int:
    """How many states take turns in a block of `count` symbols: a power of two, 1..32."""
    return min(1 << max((count // _SYMBOLS_A_LANE).bit_length() - 1, 0), _MAX_LANES)


def encode(symbols: Symbols) -> bytes | None:
    """The coded stream of symbols below 2^20, None where no two of them differ."""
    if not _differ(symbols):
        return None
    model = models.choose(histogram(models.bins(symbols), models.BINS))
    coding, writer = _Coding(model), BitWriter()
    models.write(model, writer)
    blocks = [coding.encode(symbols[at : at + BLOCK]) for at in range(0, len(symbols), BLOCK)]
    index = [len(block).to_bytes(_SIZE_BYTES, "little") for block in blocks[:-1]]
    return b"".join([writer.finish(), *index, *blocks])


def decode(data: bytes, count: int, alphabet: int, check: Callable[[], None]) -> Symbols:
    """The symbols, shape (count,), in the smallest type of the alphabet; `check` is called before each block.

    Raises: FormatError (E_COUNT, E_ANS, E_INDEX, E_SPAN, E_DECODED_SIZE, E_PADDING).
    """
    reader = BitReader(data)
    model = models.read(reader, alphabet)
    if reader.take(-reader.position % 8):
        raise FormatError("E_PADDING", "the unused bits of the table are not zero", offset=reader.position // 8 - 1)
    coding, ends = _Coding(model), _block_ends(data, reader.position // 8, count)
    symbols = np.empty(count, symbol_type(alphabet))
    for number, (start, end) in enumerate(pairwise(ends)):
        check()
        out = symbols[number * BLOCK : (number + 1) * BLOCK]
        stop = coding.decode(data[start:end], start, out, alphabet)
        if stop != end:
            code = "E_DECODED_SIZE" if end == len(data) else "E_SPAN"
            raise FormatError(code, "a block does not end where its symbols do", offset=stop, value=end)
    if not _differ(symbols) or models.choose(histogram(models.bins(symbols), models.BINS)) != model:
        raise FormatError("E_ANS", "the table is not the one that belongs to the symbols")
    return symbols


def _differ(symbols: Symbols) -> bool:
    return len(symbols) > 0 and bool((symbols != symbols[0]).any())


def _block_ends(data: bytes, at: int, count: int) -> list[int]:
    """Where the first block begins and where each one ends."""
    whole = (count - 1) // BLOCK
    behind = at + _SIZE_BYTES * whole
    least = whole * lanes(BLOCK) + lanes(count - whole * BLOCK)  # states
    if count < 2 or behind + _STATE_BYTES * least > len(data):
        raise FormatError("E_COUNT", f"{len(data)} bytes cannot hold this many symbols", offset=len(data), value=count)
    sizes = [int.from_bytes(data[place : place + _SIZE_BYTES], "little") for place in range(at, behind, _SIZE_BYTES)]
    ends = list(accumulate(sizes, initial=behind))
    if ends[-1] > len(data):
        raise FormatError("E_SPAN", "the last block begins behind the end", offset=at, value=ends[-1])
    return [*ends, len(data)]


class _Coding:
    """Codes blocks with one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._frequencies = models.frequencies(model)
        self._starts = list(accumulate(self._frequencies, initial=0))[:-1]
        self._lowest = [models.lowest(number, model.split, model.sub) for number in range(len(model.grades))]
        self._class_of_slot = np.repeat(np.arange(len(model.grades)), self._frequencies).tolist()

    def encode(self, symbols: Symbols) -> bytes:
        """One block: states, words, bits."""
        numbers = models.classes(symbols, self._model.split, self._model.sub)
        states = [LOW] * lanes(len(symbols))
        words: list[int] = []
        for place, number in reversed(list(enumerate(numbers.tolist()))):
            lane, frequency = place % len(states), self._frequencies[number]
            state = states[lane]
            if state >= frequency << (32 - PRECISION):
                words.append(state & 0xFFFF)
                state >>= 16
            high, low = divmod(state, frequency)
            states[lane] = (high << PRECISION) + self._starts[number] + low
        own = np.array([bits for _, bits in self._lowest], np.uint32)[numbers]
        writer = BitWriter()
        writer.put_all(symbols.astype(np.uint32) & ((np.uint32(1) << own) - np.uint32(1)), own)
        return b"".join([np.array(states, "<u4").tobytes(), np.array(words[::-1], "<u2").tobytes(), writer.finish()])

    def decode(self, data: bytes, offset: int, out: Symbols, alphabet: int) -> int:
        """Fills `out` from one block, which begins `offset` bytes after the stream; gives the byte behind it."""
        count = lanes(len(out))
        at = _STATE_BYTES * count
        if at > len(data):
            raise FormatError("E_SPAN", "a block is too short for its states", offset=offset, value=len(data))
        states = np.frombuffer(data, "<u4", count).tolist()
        if min(states) < LOW:
            raise FormatError("E_ANS", "a state below 2^16", offset=offset, value=min(states))
        words = np.frombuffer(data, "<u2", (len(data) - at) // _WORD_BYTES, at).tolist()
        numbers, taken = self._classes(states, words, len(out), offset + len(data))
        if any(state != LOW for state in states):
            raise FormatError("E_ANS", "a state that does not end as it began", offset=offset, value=max(states))
        at += _WORD_BYTES * taken
        return offset + at + self._symbols(data[at:], offset + at, numbers, out, alphabet)

    def _classes(self, states: list[int], words: list[int], count: int, end: int) -> tuple[list[int], int]:
        """The class of each symbol, and how many words that took; `states` are moved."""
        numbers, taken = [], 0
        for place in range(count):
            lane = place % len(states)
            slot = states[lane] % TOTAL
            number = self._class_of_slot[slot]
            state = self._frequencies[number] * (states[lane] >> PRECISION) + slot - self._starts[number]
            if state < LOW:
                if taken == len(words):
                    raise FormatError("E_DECODED_SIZE", "the words end too early", offset=end, value=place)
                state = state << 16 | words[taken]
                taken += 1
            states[lane] = state
            numbers.append(number)
        return numbers, taken

    def _symbols(self, data: bytes, offset: int, numbers: list[int], out: Symbols, alphabet: int) -> int:
        """Fills `out` from classes and the bits in `data`; gives how many bytes these take."""
        reader = BitReader(data)
        found = []
        for number in numbers:
            symbol, own = self._lowest[number]
            if own:
                if reader.position + own > 8 * len(data):
                    raise FormatError("E_DECODED_SIZE", "the bits end too early", offset=offset + len(data))
                symbol += reader.take(own)
                if symbol >= alphabet:
                    at = offset + reader.position // 8
                    raise FormatError(
                        "E_INDEX", f"a symbol outside the alphabet of {alphabet}", offset=at, value=symbol
                    )
            found.append(symbol)
        out[:] = found
        if reader.take(-reader.position % 8):
            at = offset + reader.position // 8 - 1
            raise FormatError("E_PADDING", "the unused bits of a block are not zero", offset=at)
        return reader.position // 8
