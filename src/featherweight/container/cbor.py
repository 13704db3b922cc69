"""The header's notation: a small, strict part of CBOR (RFC 8949, core deterministic encoding, section 4.2.1).

One value has exactly one encoding: shortest integers and lengths, shortest exact float (finite ones only), definite
lengths, text in Unicode normalisation form C. There are no maps, so there are no keys to repeat. Of the tags only
number 6 exists; it marks a value of the graph (`Ref`). Integers have 64 bits with a sign.
"""

import math
import struct
import unicodedata
from typing import Any, NoReturn

from featherweight.core.patience import Check, never
from featherweight.errors import FormatError, UsageError
from featherweight.graph.plain import Ref

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, TAG, SIMPLE = 0, 1, 2, 3, 4, 6, 7
REFERENCE_TAG = 6
INT64_MAX = 2**63 - 1
MAX_DEPTH = 16

_CHECKED = 1024  # values between two looks at a deadline

_NOT_SMALL = 27  # the first byte of an unsigned integer of 8 bytes; above it are other things
_FALSE, _TRUE, _NULL, _HALF, _SINGLE, _DOUBLE = 20, 21, 22, 25, 26, 27
_SIMPLE_VALUES = {_FALSE: False, _TRUE: True, _NULL: None}
_FLOATS = {_HALF: ">e", _SINGLE: ">f", _DOUBLE: ">d"}


def encode(value: Any) -> bytes:
    """The one encoding of a value: None, bool, int, float, str, bytes, Ref, and lists or tuples of them.

    Raises: UsageError for a value that the notation cannot hold.
    """
    out = bytearray()
    _write(out, value, MAX_DEPTH)
    return bytes(out)


class Decoder:
    """Reads values one after the other and refuses all that `encode` would not have written.

    `base` is the place of `data` in the file, for errors; `depth` the deepest nesting of arrays; `items` how many
    values may be read in all (what they take in memory is bounded by it); `check` is called every 1024 values.
    """

    def __init__(
        self, data: bytes, *, base: int = 0, depth: int = MAX_DEPTH, items: int = 2**20, check: Check = never
    ) -> None:
        self._data, self._base, self._depth, self._left = data, base, depth, items
        self._position, self._check = 0, check

    @property
    def offset(self) -> int:
        """Where the next value begins, as a byte offset in the file."""
        return self._base + self._position

    def value(self, level: int = 0) -> Any:
        """The next value, of any kind."""
        start = self.offset
        major, argument = self._head()
        if major == UNSIGNED:
            return self._int64(argument, start)
        if major == NEGATIVE:
            return -1 - self._int64(argument, start)
        if major == BYTES:
            return self._take(argument, start)
        if major == TEXT:
            return self._text(argument, start)
        if major == ARRAY:
            if level >= self._depth:
                self.fail("E_METADATA", f"arrays nest deeper than {self._depth}", start)
            return [self.value(level + 1) for _ in range(self._counted(argument, start))]
        if major == TAG:
            return self._reference(argument, start)
        if major != SIMPLE:
            self.fail("E_METADATA", "a kind of value that a header does not have", start, major)
        return self._simple(argument, start)

    def unsigned(self, what: str) -> int:
        """The next value, which must be an unsigned integer."""
        start, left = self._position, self._left - 1
        if left > 0 and left % _CHECKED and start < len(self._data) and self._data[start] < 24:  # most are
            self._left, self._position = left, start + 1
            return self._data[start]
        value = self._expect(UNSIGNED, what)
        return value if value <= INT64_MAX else self._int64(value, self._base + start)

    def small(self, count: int) -> list[int]:
        """As many of the next `count` values as are unsigned integers below 2^32 in their shortest form, at once."""
        data, at, found = self._data, self._position, []
        many = min(count, self._left % _CHECKED - 1)  # without reaching the limit, or the next look at the deadline
        for _ in range(many):
            head = data[at : at + 5]
            first = head[0] if head else _NOT_SMALL
            if first < 24:
                found.append(first)
                at += 1
                continue
            if first >= _NOT_SMALL:
                break
            width = 1 << (first - 24)
            number = int.from_bytes(head[1 : 1 + width], "big")
            if len(head) <= width or number < (24 if width == 1 else 1 << (4 * width)):
                break
            found.append(number)
            at += 1 + width
        self._position = at
        self._left -= len(found)
        return found

    def text(self, what: str) -> str:
        """The next value, which must be text."""
        start = self.offset
        return self._text(self._expect(TEXT, what), start)

    def boolean(self, what: str) -> bool:
        """The next value, which must be true or false."""
        start = self.offset
        value = self._simple(self._expect(SIMPLE, what), start)
        if not isinstance(value, bool):
            self.fail("E_METADATA", f"{what} must be true or false", start, value)
        return value

    def array(self, what: str, length: int | None = None) -> int:
        """How many values the next array has; they follow. With `length`, it must have exactly that many."""
        start = self.offset
        count = self._counted(self._expect(ARRAY, what), start)
        if length is not None and count != length:
            self.fail("E_METADATA", f"{what} must have {length} entries", start, count)
        return count

    def end(self) -> None:
        """Nothing may follow.

        Raises: FormatError.
        """
        if self._position != len(self._data):
            self.fail("E_METADATA", "bytes follow the last value", self.offset, len(self._data) - self._position)

    def fail(self, code: str, what: str, offset: int, value: object = None) -> NoReturn:
        """Raises the FormatError for a broken rule of the header at `offset`."""
        raise FormatError(code, what, section="header", offset=offset, value=value)

    def _expect(self, major: int, what: str) -> int:
        start, left = self._position, self._left - 1
        if left > 0 and left % _CHECKED and start < len(self._data):
            first = self._data[start]
            if first >> 5 == major and first & 31 < 24:  # so it is for nearly all, and nothing else is to be checked
                self._left, self._position = left, start + 1
                return first & 31
        found, argument = self._head()
        if found != major:
            kinds = {UNSIGNED: "an unsigned integer", TEXT: "text", ARRAY: "an array", SIMPLE: "true or false"}
            self.fail("E_METADATA", f"{what} must be {kinds[major]}", self._base + start)
        return argument

    def _head(self) -> tuple[int, int]:
        """Major type and argument of the next value; for floats and simple values the low five bits."""
        at = self._position
        self._left -= 1
        if self._left < 0:
            self.fail("E_BUDGET", "the header holds more values than the limits allow", self.offset)
        if not self._left % _CHECKED:
            self._check()
        if at >= len(self._data):
            self.fail("E_METADATA", "a value runs past the end of the header", self.offset, 1)
        first = self._data[at]
        self._position = at + 1
        major, low = first >> 5, first & 31
        if low < 24 or major == SIMPLE:
            return major, low
        start = self._base + at
        if low > 27:
            self.fail("E_METADATA", "indefinite or reserved length", start, first)
        width = 1 << (low - 24)
        argument = int.from_bytes(self._take(width, start, "E_METADATA"), "big")
        if argument < (24 if width == 1 else 1 << (4 * width)):
            self.fail("E_METADATA", "a number that is not in its shortest form", start, argument)
        return major, argument

    def _take(self, count: int, start: int, code: str = "E_COUNT") -> bytes:
        end = self._position + count
        if end > len(self._data):
            self.fail(code, "a value runs past the end of the header", start, count)
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _counted(self, count: int, start: int) -> int:
        if count > len(self._data) - self._position:
            self.fail("E_COUNT", "an array has more entries than the header has bytes left", start, count)
        return count

    def _int64(self, argument: int, start: int) -> int:
        if argument > INT64_MAX:
            self.fail("E_OVERFLOW", "a number that does not fit 64 bits with a sign", start, argument)
        return argument

    def _text(self, length: int, start: int) -> str:
        raw = self._take(length, start)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError("E_METADATA", "text is not UTF-8", section="header", offset=start, value=raw) from error
        if not unicodedata.is_normalized("NFC", text):
            self.fail("E_METADATA", "text is not in Unicode normalisation form C", start, text)
        return text

    def _reference(self, tag: int, start: int) -> Ref:
        if tag != REFERENCE_TAG:
            self.fail("E_METADATA", "an unknown tag", start, tag)
        return Ref(self.unsigned("a reference"))

    def _simple(self, low: int, start: int) -> Any:
        if low in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[low]
        if low not in _FLOATS:
            self.fail("E_METADATA", "an unknown simple value", start, low)
        raw = self._take(struct.calcsize(_FLOATS[low]), start, "E_METADATA")
        value = float(struct.unpack(_FLOATS[low], raw)[0])
        if not math.isfinite(value) or bytes([SIMPLE << 5 | low]) + raw != _float(value):
            self.fail("E_METADATA", "a float that is not finite or not in its shortest form", start, value)
        return value


def _write(out: bytearray, value: Any, depth: int) -> None:
    if value is None or isinstance(value, bool):
        out.append(SIMPLE << 5 | {False: _FALSE, True: _TRUE, None: _NULL}[value])
    elif isinstance(value, Ref):
        out += _head(TAG, REFERENCE_TAG) + _head(UNSIGNED, _bounded(value.index))
    elif isinstance(value, int):
        out += _head(UNSIGNED, _bounded(value)) if value >= 0 else _head(NEGATIVE, _bounded(-1 - value))
    elif isinstance(value, float):
        out += _float(value)
    elif isinstance(value, str):
        out += _text(value)
    elif isinstance(value, bytes):
        out += _head(BYTES, len(value)) + value
    elif isinstance(value, list | tuple):
        if depth == 0:
            raise UsageError(f"arrays in a header nest at most {MAX_DEPTH} deep", where="header")
        out += _head(ARRAY, len(value))
        for item in value:
            _write(out, item, depth - 1)
    else:
        raise UsageError("a header cannot hold a value of this type", where="header", value=value)


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    power = next(power for power in range(4) if argument < 1 << (8 << power))
    return bytes([major << 5 | 24 + power]) + argument.to_bytes(1 << power, "big")


def _bounded(number: int) -> int:
    if not 0 <= number <= INT64_MAX:
        raise UsageError("a header holds integers of 64 bits", where="header", value=number)
    return number


def _text(text: str) -> bytes:
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("text with lone surrogates has no UTF-8 form", where="header", value=text) from error
    if not unicodedata.is_normalized("NFC", text):
        raise UsageError("text must be in Unicode normalisation form C", where="header", value=text)
    return _head(TEXT, len(raw)) + raw


def _float(value: float) -> bytes:
    """The shortest of half, single and double precision that holds the value exactly."""
    for low, form in _FLOATS.items():
        try:
            raw = struct.pack(form, value)
        except OverflowError:  # too large for this precision
            continue
        if math.isfinite(value) and struct.unpack(form, raw)[0] == value:
            return bytes([SIMPLE << 5 | low]) + raw
    raise UsageError("a header holds finite floats only", where="header", value=value)
