"""Every hostile file: which rule it breaks, and the code and the byte offset that a reader must name.

The files lie in tests/golden/hostile. `python tests/attacks/cases.py` writes those that are not there yet; a file that
is there is never changed, so that a reader of tomorrow still refuses what one of today did.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from forge import Forge, Section, cbor

FOLDER = Path(__file__).parents[1] / "golden" / "hostile"


@dataclass(frozen=True)
class Case:
    """A hostile file. `load` are arguments for load() beside the path: limits, mostly."""

    name: str
    rule: str
    code: str
    offset: int
    build: Callable[[], bytes]
    load: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.fwt"


CASES: list[Case] = []


def case(rule: str, code: str, offset: int, **load: Any) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Enters the function that builds a hostile file, under the function's name."""

    def enter(build: Callable[[], bytes]) -> Callable[[], bytes]:
        CASES.append(Case(build.__name__, rule, code, offset, build, load))
        return build

    return enter


def extra(name: str = "note", data: bytes = b"hello", **lies: Any) -> Section:
    return Section(name, data, **lies)


def with_note(**lies: Any) -> Forge:
    """A small file that would be right: no tensors, one extra section."""
    return Forge(extras=[extra()], decoded=5, **lies)


def with_header(header: bytes) -> bytes:
    """A file without sections whose header is as given."""
    return Forge(header=header).build()


# prefix ----------------------------------------------------------------------------------------------------------


@case("P1", "E_MAGIC", 0)
def empty():
    return b""


@case("P1", "E_MAGIC", 0)
def other_format():
    return b"PK\x03\x04" + with_note().build()[4:]


@case("P1", "E_MAGIC", 0)
def something_in_front():
    return b"#!/bin/sh\n" + with_note().build()


@case("P1", "E_MAGIC", 0)
def text_mode_to_unix():
    return with_note().build().replace(b"\r\n", b"\n")


@case("P1", "E_MAGIC", 0)
def text_mode_to_windows():
    return with_note().build().replace(b"\n", b"\r\n")


@case("P1", "E_MAGIC", 0)
def seven_bits():
    return bytes(byte & 0x7F for byte in with_note().build())


@case("P2", "E_TRUNCATED", 4)
def cut_in_the_magic():
    return with_note().build()[:4]


@case("P2", "E_TRUNCATED", 39)
def cut_in_the_prefix():
    return with_note().build()[:39]


@case("P3", "E_VERSION", 8)
def major_version_0():
    return with_note(major=0).build()


@case("P3", "E_VERSION", 8)
def major_version_2():
    return with_note(major=2).build()


@case("P3", "E_VERSION", 8)
def major_version_255():
    return with_note(major=255).build()


@case("P4", "E_CHECKSUM", 36)
def prefix_checksum():
    return with_note(prefix_checksum=0).build()


@case("P5", "E_PADDING", 10)
def unknown_flag():
    return with_note(flags=2).build()


@case("P5", "E_PADDING", 10)
def all_flags():
    return with_note(flags=0xFFFF).build()


@case("P6", "E_OVERFLOW", 16)
def decoded_size_beyond_2_53():
    return Forge(extras=[extra()], decoded=2**53).build()


@case("P6", "E_OVERFLOW", 16)
def decoded_size_all_ones():
    return Forge(extras=[extra()], decoded=2**64 - 1).build()


@case("P7", "E_OVERFLOW", 24)
def length_beyond_2_53():
    return with_note(length=2**53).build()


@case("P8", "E_HEADER_SIZE", 12)
def header_longer_than_the_file():
    return with_note(header_length=2**32 - 1).build()


@case("P8", "E_HEADER_SIZE", 12)
def header_reaches_into_the_digest():
    whole = len(with_note().build())
    return with_note(header_length=whole - 40 - 31).build()


@case("P8", "E_HEADER_SIZE", 12)
def header_of_length_0():
    return Forge(header=b"").build()


@case("P8", "E_HEADER_SIZE", 12)
def length_below_the_least():
    return with_note(length=72).build()


@case("P9", "E_TRUNCATED", 93)
def cut_at_the_end():
    return with_note().build()[:-1]


@case("P9", "E_TRUNCATED", 41)
def cut_behind_the_prefix():
    return with_note().build()[:41]


@case("P9", "E_TRUNCATED", 94)
def length_far_beyond_the_end():
    return with_note(length=2**53 - 1).build()


@case("P10", "E_TRAILING", 94)
def one_byte_behind_the_end():
    return with_note(tail=b"\0").build()


@case("P10", "E_TRAILING", 94)
def a_zip_file_behind_the_end():
    return with_note(tail=b"PK\x05\x06" + bytes(18)).build()


@case("P11", "E_BUDGET", 16)
def bomb_in_the_prefix():
    return Forge(extras=[extra()], decoded=2**53 - 1).build()


@case("P12", "E_NONFINITE", 10)
def nonfinite_not_allowed():
    return with_note(flags=1).build()


@case("P13", "E_NONFINITE", 10, nonfinite="allow")
def nonfinite_without_need():
    return with_note(flags=1).build()


# header ----------------------------------------------------------------------------------------------------------


@case("H1", "E_CHECKSUM", 32)
def header_checksum():
    return with_note(header_checksum=0).build()


@case("H2", "E_METADATA", 40)
def header_is_a_map():
    return with_header(bytes.fromhex("a0"))


@case("H2", "E_METADATA", 40)
def header_is_a_number():
    return with_header(cbor(4))


@case("H2", "E_METADATA", 40)
def header_of_three():
    return with_header(cbor([[], None, []]))


@case("H2", "E_METADATA", 40)
def header_of_five():
    return with_header(cbor([[], None, [], [], []]))


@case("H2", "E_METADATA", 45)
def two_values_in_the_header():
    return with_header(cbor([[], None, [], []]) + b"\0")


@case("H2", "E_METADATA", 41)
def tensors_are_text():
    return with_header(cbor(["", None, [], []]))


@case("H2", "E_METADATA", 42)
def a_tensor_of_two():
    return with_header(cbor([[["a", []]], None, [], []]))


@case("H2", "E_METADATA", 43)
def a_name_that_is_a_number():
    return with_header(cbor([[[1, [], []]], None, [], []]))


@case("H2", "E_METADATA", 46)
def a_negative_dimension():
    return with_header(cbor([[["a", [-1], []]], None, [], []]))


@case("H2", "E_METADATA", 48)
def critical_is_a_number():
    return with_header(cbor([[], None, [], [["a", 0, 0]]]))


@case("H3", "E_METADATA", 41)
def indefinite_array():
    return with_header(b"\x84\x9f\xff\xf6\x80\x80")


@case("H3", "E_METADATA", 42)
def number_not_in_shortest_form():
    return with_header(b"\x84\x80\x81\x18\x05\x80\x80"[:2] + b"\x98\x01\x05\x80\x80")


@case("H3", "E_METADATA", 43)
def float_not_in_shortest_form():
    return with_header(b"\x84\x80" + b"\x81\xfa\x3f\x80\x00\x00" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def float_not_finite():
    return with_header(b"\x84\x80" + b"\x81\xf9\x7c\x00" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def unknown_tag():
    return with_header(b"\x84\x80" + b"\x81\xc1\x00" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def unknown_simple_value():
    return with_header(b"\x84\x80" + b"\x81\xf7" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def map_in_the_graph():
    return with_header(b"\x84\x80" + b"\x81\xa2\x61a\x01\x61a\x02" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def text_that_is_no_utf8():
    return with_header(b"\x84\x80" + b"\x81\x62\xc3\x28" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def text_with_a_lone_surrogate():
    return with_header(b"\x84\x80" + b"\x81\x63\xed\xa0\x80" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def text_not_normalised():
    return with_header(cbor([[["e\u0301", [], [0]]], None, [], []]))


@case("H4", "E_METADATA", 57)
def nested_too_deep():
    return with_header(b"\x84\x80" + b"\x81" * 5000 + b"\x80" + b"\x80\x80")


@case("H5", "E_COUNT", 41)
def more_tensors_than_bytes():
    return with_header(b"\x84\x9b\x00\x1f\xff\xff\xff\xff\xff\xff\xf6\x80\x80")


@case("H5", "E_COUNT", 43)
def text_longer_than_the_header():
    return with_header(b"\x84\x81\x83\x7a\xff\xff\xff\xffa")


@case("H5", "E_COUNT", 42)
def shape_longer_than_the_header():
    return with_header(b"\x84\x80\x9a\x10\x00\x00\x00\x80\x80")


@case("H6", "E_OVERFLOW", 43)
def number_beyond_64_bits():
    return with_header(b"\x84\x80\x81\x1b" + b"\xff" * 8 + b"\x80\x80")


@case("H6", "E_OVERFLOW", 46)
def dimension_beyond_2_53():
    return with_header(cbor([[["a", [2**53], [0]]], None, [], []]))


@case("H6", "E_OVERFLOW", 45)
def elements_beyond_2_53():
    return with_header(cbor([[["a", [2**31 - 1, 2**31 - 1], [0]]], None, [], []]))


@case("H6", "E_OVERFLOW", 45)
def elements_that_wrap_to_a_small_number():
    return with_header(cbor([[["a", [2**30, 2**30, 16], [0]]], None, [], []]))


@case("H6", "E_OVERFLOW", 45)
def empty_tensor_of_huge_dimensions():
    return with_header(cbor([[["a", [0, 2**31 - 1, 2**31 - 1], [0]]], None, [], []]))


@case("H6", "E_OVERFLOW", 49)
def extra_length_beyond_2_53():
    return with_header(cbor([[], None, [], [["a", False, 2**53]]]))


@case("H7", "E_BUDGET", 45)
def rank_beyond_the_limit():
    return with_header(cbor([[["a", [1] * 9, [0]]], None, [], []]))


@case("H7", "E_BUDGET", 45)
def dimension_beyond_the_limit():
    return with_header(cbor([[["a", [2**31], [0]]], None, [], []]))


@case("H7", "E_BUDGET", 44)
def more_extras_than_the_limit():
    return Forge(extras=[extra(f"n{number}", b"") for number in range(65)]).build()


@case("H7", "E_BUDGET", 49)
def extra_beyond_the_limit():
    return with_header(cbor([[], None, [], [["a", False, 2**25]]]))


@case("H7", "E_BUDGET", 141, limits={"header_items": 100})
def more_values_than_the_limit():
    return with_header(cbor([[], [None] * 200, [], []]))


def name_case(name: str) -> bytes:
    return Forge(extras=[extra(name)], decoded=5).build()


NAMES = {
    "name_empty": "",
    "name_with_nul": "a\0b",
    "name_with_escape": "a\x1b[2J",
    "name_with_newline": "a\nb",
    "name_with_slash": "../a",
    "name_with_backslash": "a\\b",
    "name_with_bidi": "a\u202eb",
    "name_with_zero_width": "a\u200bb",
    "name_with_markup": "<script>",
    "name_with_quote": 'a"b',
    "name_of_dots": "..",
    "name_with_empty_part": "a..b",
    "name_too_long": "n" * 256,
}
for _name, _text in NAMES.items():
    CASES.append(Case(_name, "H8", "E_NAME", 46, lambda text=_text: name_case(text)))


@case("H9", "E_DUPLICATE", 54)
def extra_twice():
    return Forge(extras=[extra("note", b""), extra("note", b"")]).build()


@case("H12", "E_VERSION", 45)
def critical_extra():
    return Forge(extras=[extra("signature", critical=True)], decoded=5).build()


@case("H13", "E_GRAPH", 42)
def graph_is_a_number():
    return with_header(cbor([[], 7, [], []]))


@case("H13", "E_GRAPH", 40)
def graph_is_empty():
    return with_header(cbor([[], [], [], []]))


@case("H14", "E_DECODED_SIZE", 16)
def decoded_size_too_small():
    return Forge(extras=[extra()], decoded=4).build()


@case("H14", "E_DECODED_SIZE", 16)
def decoded_size_too_large():
    return Forge(extras=[extra()], decoded=6).build()


# sections --------------------------------------------------------------------------------------------------------


@case("S1", "E_SPAN", 24)
def hole_before_the_digest():
    return with_note(tail=b"\0", length=95).build()


@case("S1", "E_SPAN", 24)
def section_reaches_into_the_digest():
    return Forge(extras=[extra(length=6)], decoded=6).build()


@case("S1", "E_SPAN", 24)
def section_beyond_the_end():
    return Forge(extras=[extra(length=2**24)], decoded=2**24).build()


@case("S3", "E_CHECKSUM", 53)
def section_checksum():
    return Forge(extras=[extra(checksum=0)], decoded=5).build()


@case("D1", "E_DIGEST", 62)
def digest():
    return with_note(digest=bytes(32)).build()


def main() -> None:
    """Writes the hostile files that are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for item in CASES:
        if not item.path.exists():
            item.path.write_bytes(item.build())


if __name__ == "__main__":
    main()
