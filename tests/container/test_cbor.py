import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherweight.container.cbor import Decoder, encode
from featherweight.errors import FormatError, UsageError
from featherweight.graph.plain import Ref

# RFC 8949, appendix A: those of its examples that this part of CBOR has, and our tag.
VECTORS = [
    (0, "00"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (1000, "1903e8"),
    (1_000_000, "1a000f4240"),
    (1_000_000_000_000, "1b000000e8d4a51000"),
    (2**63 - 1, "1b7fffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (-(2**63), "3b7fffffffffffffff"),
    (0.0, "f90000"),
    (-0.0, "f98000"),
    (1.0, "f93c00"),
    (1.1, "fb3ff199999999999a"),
    (1.5, "f93e00"),
    (65504.0, "f97bff"),
    (100000.0, "fa47c35000"),
    (3.4028234663852886e38, "fa7f7fffff"),
    (1.0e300, "fb7e37e43c8800759c"),
    (5.960464477539063e-8, "f90001"),
    (0.00006103515625, "f90400"),
    (-4.0, "f9c400"),
    (-4.1, "fbc010666666666666"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (bytes.fromhex("01020304"), "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    (Ref(0), "c600"),
    (Ref(500), "c61901f4"),
]

REFUSED = {  # bytes: code, offset
    "": ("E_METADATA", 0),  # nothing
    "1817": ("E_METADATA", 0),  # 23 in two bytes
    "190017": ("E_METADATA", 0),
    "1900ff": ("E_METADATA", 0),
    "1a0000ffff": ("E_METADATA", 0),
    "1b00000000ffffffff": ("E_METADATA", 0),
    "1b8000000000000000": ("E_OVERFLOW", 0),  # beyond 64 bits with a sign
    "3b8000000000000000": ("E_OVERFLOW", 0),
    "19ff": ("E_METADATA", 0),  # cut inside a number
    "1c": ("E_METADATA", 0),  # reserved
    "1f": ("E_METADATA", 0),
    "5f4100ff": ("E_METADATA", 0),  # indefinite lengths
    "7f6161ff": ("E_METADATA", 0),
    "9fff": ("E_METADATA", 0),
    "ff": ("E_METADATA", 0),
    "5803010203": ("E_METADATA", 0),  # length not in its shortest form
    "4201": ("E_COUNT", 0),  # shorter than it says
    "6261": ("E_COUNT", 0),
    "8201": ("E_COUNT", 0),
    "9affffffff": ("E_COUNT", 0),
    "9b7fffffffffffffff": ("E_COUNT", 0),
    "5b7fffffffffffffff": ("E_COUNT", 0),
    "820182": ("E_COUNT", 2),
    "61ff": ("E_METADATA", 0),  # no UTF-8
    "62c080": ("E_METADATA", 0),  # overlong
    "63eda080": ("E_METADATA", 0),  # a lone surrogate
    "6365cc81": ("E_METADATA", 0),  # e and an accent, not NFC
    "a0": ("E_METADATA", 0),  # maps
    "a10102": ("E_METADATA", 0),
    "b4": ("E_METADATA", 0),  # whose low bits are those of false, true, null and a float
    "b5": ("E_METADATA", 0),
    "b6": ("E_METADATA", 0),
    "b93c00": ("E_METADATA", 0),
    "c000": ("E_METADATA", 0),  # other tags
    "c249010000000000000000": ("E_METADATA", 0),  # a big number
    "d9d9f700": ("E_METADATA", 0),
    "c66130": ("E_METADATA", 1),  # a reference that is no number
    "c620": ("E_METADATA", 1),
    "f7": ("E_METADATA", 0),  # undefined
    "f0": ("E_METADATA", 0),
    "f814": ("E_METADATA", 0),  # false in two bytes
    "f818": ("E_METADATA", 0),
    "f97c00": ("E_METADATA", 0),  # infinity
    "f97e00": ("E_METADATA", 0),  # NaN
    "fb7ff8000000000001": ("E_METADATA", 0),
    "fa3fc00000": ("E_METADATA", 0),  # 1.5 in single precision
    "fb3ff8000000000000": ("E_METADATA", 0),
    "fb47c3500000000000"[:16]: ("E_METADATA", 0),  # cut inside a float
    "0000": ("E_METADATA", 1),  # two values
}


def decoded(data, **options):
    decoder = Decoder(data, **options)
    value = decoder.value()
    decoder.end()
    return value


@pytest.mark.parametrize(("value", "text"), VECTORS, ids=[text for _, text in VECTORS])
def test_vectors(value, text):
    raw = bytes.fromhex(text)
    assert encode(value) == raw
    back = decoded(raw)
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, float):
        assert math.copysign(1, back) == math.copysign(1, value)


@pytest.mark.parametrize("text", REFUSED)
def test_everything_else_is_refused(text):
    with pytest.raises(FormatError) as caught:
        decoded(bytes.fromhex(text), base=1000)
    assert (caught.value.code, caught.value.offset - 1000) == REFUSED[text]
    assert caught.value.section == "header"


def test_the_form_of_a_float_is_not_part_of_its_depth():
    deep = b"\x81" * 16 + b"\xf9\x3c\x00"
    assert encode(decoded(deep)) == deep


def test_arrays_nest_sixteen_deep_and_no_deeper():
    value = []
    for _ in range(15):
        value = [value]
    assert decoded(encode(value)) == value
    with pytest.raises(UsageError, match="16 deep"):
        encode([value])
    with pytest.raises(FormatError, match="deeper than 16"):
        decoded(b"\x81" * 17 + b"\x80")
    with pytest.raises(FormatError, match="deeper than 16"):
        decoded(b"\x81" * 100_000)


def test_the_number_of_values_is_bounded():
    assert decoded(b"\x83\x80\x80\x80", items=4) == [[], [], []]
    with pytest.raises(FormatError) as caught:
        decoded(b"\x83\x80\x80\x80", items=3)
    assert (caught.value.code, caught.value.offset) == ("E_BUDGET", 3)


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, math.nan, math.inf, -math.inf, "e\u0301", "\ud800", {}, {1}, object(), Ref(-1), 1j]
)
def test_what_a_header_cannot_hold(value):
    with pytest.raises(UsageError):
        encode([value])


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        ("unsigned", "20", "a thing must be an unsigned integer"),
        ("unsigned", "f93c00", "a thing must be an unsigned integer"),
        ("text", "4161", "a thing must be text"),
        ("array", "01", "a thing must be an array"),
        ("boolean", "01", "a thing must be true or false"),
        ("boolean", "f6", "a thing must be true or false"),
        ("boolean", "f93c00", "a thing must be true or false"),
        ("boolean", "80", "a thing must be true or false"),
    ],
)
def test_typed_reads_refuse_other_types(read, text, message):
    with pytest.raises(FormatError, match=message):
        getattr(Decoder(bytes.fromhex(text)), read)("a thing")


def test_an_array_of_fixed_length():
    assert Decoder(b"\x82\x01\x02").array("a pair", 2) == 2
    with pytest.raises(FormatError, match="must have 3 entries"):
        Decoder(b"\x82\x01\x02").array("a triple", 3)


def test_the_offset_follows_the_values():
    decoder = Decoder(encode([1000, "abc", True]), base=40)
    assert (decoder.offset, decoder.array("all"), decoder.offset) == (40, 3, 41)
    assert (decoder.unsigned("x"), decoder.offset) == (1000, 44)
    assert (decoder.text("x"), decoder.offset) == ("abc", 48)
    assert decoder.boolean("x") is True
    decoder.end()


texts = st.text(max_size=20).map(lambda text: unicodedata.normalize("NFC", text))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary(max_size=20)
    | st.builds(Ref, st.integers(0, 2**40))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


def typed(value):
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), repr(value)


@given(values)
def test_every_value_comes_back_with_its_type(value):
    assert typed(decoded(encode(value))) == typed(value)


@given(st.binary(max_size=40))
def test_what_is_accepted_has_one_form(data):
    try:
        value = decoded(data)
    except FormatError as error:
        assert error.code in {"E_METADATA", "E_COUNT", "E_OVERFLOW"}
    else:
        assert encode(value) == data


def test_a_long_header_asks_whether_it_may_go_on():
    asked = []
    data = encode([0] * 5000)
    decoder = Decoder(data, items=5001, check=lambda: asked.append(1))
    assert len(decoder.value()) == 5000
    assert len(asked) == 5


@given(st.lists(st.one_of(st.integers(0, 70_000), st.integers(-5, 2**63 - 1), st.text(max_size=2)), max_size=30))
def test_small_numbers_at_once_are_those_one_by_one(values):
    data = b"".join(encode(value) for value in values)
    fast, slow = Decoder(data, items=2**20 + 500), Decoder(data, items=2**20 + 500)
    found = fast.small(len(values))
    assert found == [slow.unsigned("a number") for _ in found] == values[: len(found)]
    assert fast.offset == slow.offset
    if len(found) < len(values):
        assert not isinstance(values[len(found)], int) or not 0 <= values[len(found)] < 2**32


@pytest.mark.parametrize("data", ["1817", "1900ff", "1a0000ffff", "18", "1901", "1a000100", "9f", "40"])
def test_small_numbers_end_before_what_is_not_in_order(data):
    decoder = Decoder(bytes.fromhex("05" + data), items=100)
    assert decoder.small(2) == [5]
    with pytest.raises(FormatError):
        decoder.unsigned("a number")


def test_small_numbers_pass_neither_the_limit_nor_the_deadline():
    seen = []
    decoder = Decoder(b"\x05" * 2000, items=1500, check=lambda: seen.append(1))
    found = []
    while len(found) < 1400:
        found += decoder.small(1400 - len(found))
        found.append(decoder.unsigned("a number"))
    assert len(seen) == 1
    with pytest.raises(FormatError, match="E_BUDGET"):
        for _ in range(1500 - len(found) + 1):
            decoder.unsigned("a number")
