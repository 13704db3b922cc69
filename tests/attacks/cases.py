"""Every hostile file: which rule it breaks, and the code and the byte offset that a reader must name.

The files lie in tests/golden/hostile. `python tests/attacks/cases.py` writes those that are not there yet; a file that
is there is never changed, so that a reader of tomorrow still refuses what one of today did.
"""

import hashlib
import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from forge import Forge, Section, Value, cbor

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


def tensor(name: str, data: bytes, shape: list[int], spec: list[int], **lies: Any) -> Section:
    return Section(name, data, shape=shape, spec=spec, **lies)


def floats(name: str = "a", values: tuple[float, ...] = (1.0, 2.0), **lies: Any) -> Section:
    """A dense float32 tensor in raw bytes: encoding 0, type 0, coder 1."""
    data = struct.pack(f"<{len(values)}f", *values)
    return tensor(name, data, [len(values)], [0, 0, 1, len(data)], **lies)


def shared(stream: bytes, count: int, entries: int, coder: int = 1, values: tuple[float, ...] | None = None) -> Forge:
    """A codebook (encoding 2) of float32 entries whose `count` indices are coded as given."""
    kept = struct.pack(f"<{entries}f", *(values or range(entries)))
    spec = [2, entries, coder, len(stream), 0, 0, 1, len(kept)]
    return Forge(tensors=[tensor("a", stream + kept, [count], spec)], decoded=4 * count)


# 0 0 0 1 by rANS, as in tests/entropy/test_rans_reference.py: frequencies 2730 and 1366, one state, no word.
RANS_TABLE, RANS_STATE = bytes.fromhex("00007300"), bytes.fromhex("c4200a00")


def stepped(stream: bytes, shape: list[int], alphabet: int, step: float = 0.5, coder: int = 1) -> Forge:
    """Levels (encoding 3) below `alphabet` in one stream as given, raw or of another coder, with one float32 step."""
    spec = [3, 0, alphabet, coder, len(stream), 0, 0, 1, 4]
    return Forge(tensors=[tensor("a", stream + struct.pack("<f", step), shape, spec)], decoded=4 * math.prod(shape))


def pruned(stream: bytes, shape: list[int], fields: list[int]) -> Forge:
    """A sparse tensor (encoding 1) with fields form, kept, fillings, whose mask is one raw stream as given."""
    kept = struct.pack(f"<{fields[1]}f", *range(1, fields[1] + 1))
    spec = [1, *fields, 1, len(stream), 0, 0, 1, len(kept)]
    return Forge(tensors=[tensor("a", stream + kept, shape, spec)], decoded=4 * math.prod(shape))


def bits(text: str) -> bytes:
    """Bits, most significant first, filled up with zeros; spaces are for the eye."""
    digits = text.replace(" ", "")
    return int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")


def with_spec(shape: list[int], spec: list[int]) -> bytes:
    """One tensor of which only the header matters."""
    return with_header(cbor([[["a", shape, spec]], None, [], []]))


def computing(ops: list[str], nodes: list[Any], output: Any, tensors: Any = 0) -> bytes:
    """A file with a graph of one input x of two numbers, and no tensors."""
    graph = [[["x", [2]]], tensors, ops, nodes, output]
    return with_header(cbor([[], graph, [], []]))


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


@case("P8", "E_HEADER_SIZE", 12, limits={"header_bytes": 12})
def header_beyond_the_limit():
    return with_note().build()


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


@case("H3", "E_METADATA", 42)
def map_whose_low_bits_say_null():
    return with_header(b"\x84\x80\xb6\x80\x80")


@case("H3", "E_METADATA", 43)
def text_that_is_no_utf8():
    return with_header(b"\x84\x80" + b"\x81\x62\xc3\x28" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def text_with_a_lone_surrogate():
    return with_header(b"\x84\x80" + b"\x81\x63\xed\xa0\x80" + b"\x80\x80")


@case("H3", "E_METADATA", 43)
def text_not_normalised():
    return with_header(cbor([[["e\u0301", [], [0]]], None, [], []]))


@case("H3", "E_METADATA", 44)
def header_cut_inside_a_number():
    return with_header(b"\x84\x80\xf6\x80\x1b\x00")


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


@case("H7", "E_BUDGET", 41, limits={"tensors": 1})
def more_tensors_than_the_limit():
    return Forge(tensors=[floats("a"), floats("b")], decoded=16).build()


@case("H7", "E_BUDGET", 53, limits={"tensors": 2})
def more_aliases_than_the_limit():
    return Forge(tensors=[floats()], aliases=[["b", 0], ["c", 0]], decoded=8).build()


@case("H7", "E_BUDGET", 45, limits={"elements": 1})
def elements_beyond_the_limit():
    return Forge(tensors=[floats()], decoded=8).build()


@case("H8", "E_NAME", 46, limits={"name_bytes": 3})
def name_beyond_the_limit():
    return with_note().build()


@case("H7", "E_BUDGET", 47, limits={"decoded_bytes": 1000})
def one_weight_with_65536_shared_values():
    spec = [2, 65536, 0, 2, 0, 0, 0, 1]
    return Forge(tensors=[tensor("a", bytes(3), [1], spec)], decoded=4).build()


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


def of_two(*second: Any) -> bytes:
    """A header of two tensors without numbers, the first called "ab"."""
    empty = [[0], [0, 0, 1, 0]]
    return with_header(cbor([[["ab", *empty], [*second, *empty]], None, [], []]))


@case("H3", "E_METADATA", 54)
def a_name_that_shares_and_is_written_whole():
    return of_two("abc")


@case("H3", "E_METADATA", 54)
def a_name_that_shares_one_character():
    return of_two(1, "x")


@case("H3", "E_METADATA", 56)
def a_name_that_shares_more_than_it_says():
    return with_header(cbor([[["abc", [0], [0, 0, 1, 0]], [2, "cd", [0], [0, 0, 1, 0]]], None, [], []]))


@case("H3", "E_METADATA", 54)
def a_name_that_shares_more_than_there_is():
    return of_two(3, "x")


@case("H3", "E_METADATA", 43)
def a_first_name_that_shares():
    return with_header(cbor([[[2, "x", [0], [0, 0, 1, 0]]], None, [], []]))


@case("H9", "E_DUPLICATE", 53)
def tensor_twice():
    return Forge(tensors=[floats(), floats()], decoded=16).build()


@case("H9", "E_DUPLICATE", 55)
def alias_named_like_a_tensor():
    return Forge(tensors=[floats()], aliases=[["a", 0]], decoded=8).build()


@case("H10", "E_VERSION", 47)
def unknown_encoding():
    return with_spec([2], [99, 0, 1, 8])


@case("H10", "E_VERSION", 47)
def unknown_coder():
    return with_spec([2], [0, 0, 99, 8])


@case("H10", "E_VERSION", 47)
def unknown_number_type():
    return with_spec([2], [0, 15, 1, 8])


@case("H10", "E_VERSION", 47)
def number_type_narrower_than_stored():
    return with_spec([2], [0, 32, 1, 8])


@case("H10", "E_VERSION", 47)
def integers_turned():
    return with_spec([2], [0, 262 + 16 + 512, 1, 2, 1, 2])  # int64 kept as int16


@case("H10", "E_VERSION", 47)
def turned_without_planes():
    return with_spec([2], [0, 512, 1, 8])


@case("H10", "E_VERSION", 47)
def turned_twice():
    return with_spec([2], [0, 16 + 1024, 1, 2, 1, 2, 1, 2, 1, 2])


@case("H10", "E_VERSION", 47)
def unknown_form_of_mask():
    return with_spec([2], [1, 31, 1, 0, 1, 1, 0, 0, 1, 4])


@case("H10", "E_COUNT", 47)
def empty_spec():
    return with_spec([2], [])


@case("H10", "E_COUNT", 47)
def spec_cut_short():
    return with_spec([2], [0, 0, 1])


@case("H10", "E_TRAILING", 47)
def spec_too_long():
    return with_spec([2], [0, 0, 1, 8, 0])


@case("H10", "E_COUNT", 47)
def codebook_without_entries():
    return with_spec([2], [2, 0, 1, 0, 0, 0, 1, 0])


@case("H10", "E_COUNT", 47)
def codebook_of_65537_entries():
    return with_spec([2], [2, 65537, 1, 0, 0, 0, 1, 0])


@case("H10", "E_VERSION", 47)
def unknown_form_of_levels():
    return with_spec([2], [3, 4, 2, 1, 1, 0, 0, 1, 8])


@case("H10", "E_SHAPE", 47)
def steps_of_rows_in_a_single_row():
    return with_spec([1], [3, 2, 2, 1, 1, 0, 0, 1, 4])


@case("H10", "E_COUNT", 47)
def levels_of_no_alphabet():
    return with_spec([2], [3, 0, 0, 1, 0, 0, 0, 1, 4])


@case("H10", "E_COUNT", 47)
def levels_beyond_the_largest():
    return with_spec([2], [3, 0, 2**31, 1, 5, 0, 0, 1, 4])


@case("H10", "E_SHAPE", 47)
def more_weights_kept_than_there_are():
    return with_spec([2], [1, 0, 3, 0, 1, 1, 0, 0, 1, 12])


@case("H10", "E_SHAPE", 47)
def more_fillings_than_there_is_room():
    return with_spec([2], [1, 4, 1, 2**40, 1, 1, 0, 0, 1, 4])


@case("H10", "E_SHAPE", 47)
def mask_by_columns_in_a_single_row():
    return with_spec([2], [1, 1 + 32, 1, 0, 1, 1, 0, 0, 1, 4])


@case("H10", "E_SHAPE", 47)
def live_rows_in_a_single_row():
    return with_spec([2], [1, 1 + 64, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 4])


@case("H10", "E_SPAN", 47)
def encodings_nested_too_deep():
    return with_spec([1], [1, 0, 1, 0, 1, 1] * 5 + [0, 0, 1, 4])


@case("H6", "E_OVERFLOW", 47)
def section_beyond_2_53():
    return with_spec([2], [0, 16, *[1, 2**52] * 4])


@case("H11", "E_INDEX", 57)
def alias_of_nothing():
    return Forge(tensors=[floats()], aliases=[["b", 1]], decoded=8).build()


@case("H12", "E_VERSION", 45)
def critical_extra():
    return Forge(extras=[extra("signature", critical=True)], decoded=5).build()


@case("H13", "E_GRAPH", 42)
def graph_is_a_number():
    return with_header(cbor([[], 7, [], []]))


@case("H13", "E_GRAPH", 40)
def graph_is_empty():
    return with_header(cbor([[], [], [], []]))


@case("H13", "E_GRAPH", 40)
def operator_not_in_the_list():
    return computing(["os.system"], [[0, "true"]], Value(1))


@case("H13", "E_GRAPH", 40)
def operator_that_writes():
    return computing(["add_.Tensor"], [[0, Value(0), Value(0)]], Value(1))


@case("H13", "E_GRAPH", 40)
def reference_forward():
    return computing(["relu"], [[0, Value(1)]], Value(1))


@case("H13", "E_GRAPH", 40)
def reference_to_nothing():
    return computing(["relu"], [[0, Value(0)]], Value(2))


@case("H13", "E_GRAPH", 40)
def argument_of_another_type():
    return computing(["relu"], [[0, "x"]], Value(1))


@case("H13", "E_GRAPH", 40)
def too_many_arguments():
    return computing(["relu"], [[0, Value(0), 1]], Value(1))


@case("H13", "E_GRAPH", 40)
def input_name_that_is_code():
    graph = [[["__import__('os')", [2]]], 0, [], [], Value(0)]
    return with_header(cbor([[], graph, [], []]))


@case("H13", "E_GRAPH", 40)
def graph_of_a_tensor_that_is_not_there():
    return computing(["add"], [[0, Value(0), Value(1)]], Value(2), tensors=["weight"])


@case("H13", "E_GRAPH", 40)
def graph_that_counts_too_many_tensors():
    return computing([], [], Value(0), tensors=1)


@case("H13", "E_GRAPH", 40)
def graph_that_leaves_a_tensor_out():
    graph = [[["x", [2]]], [], ["relu"], [[0, Value(0)]], Value(1)]
    return Forge(tensors=[floats()], graph=graph, decoded=8).build()


@case("H13", "E_GRAPH", 40)
def graph_that_names_tensors_without_need():
    graph = [[["x", [2]]], ["a"], ["add"], [[0, Value(0), Value(1)]], Value(2)]
    return Forge(tensors=[floats()], graph=graph, decoded=8).build()


@case("H13", "E_SHAPE", 40)
def shapes_that_do_not_fit():
    graph = [[["x", [None, 5]]], 1, ["linear"], [[0, Value(0), Value(1)]], Value(2)]
    weight = tensor("a", struct.pack("<8f", *range(8)), [2, 4], [0, 0, 1, 32])
    return Forge(tensors=[weight], graph=graph, decoded=32).build()


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


@case("S2", "E_PADDING", 56)
def padding_not_zero():
    return Forge(extras=[extra("big", bytes(65536), padding=bytes(7) + b"\1")], decoded=65536).build()


@case("S3", "E_CHECKSUM", 62)
def sections_swapped():
    left, right = extra("left", b"12345"), extra("right", b"abcde")
    whole = Forge(extras=[left, right], decoded=10).build()
    swapped = whole[:62] + whole[71:80] + whole[62:71]  # each with its own checksum
    return swapped + hashlib.sha256(swapped).digest()


@case("S3", "E_CHECKSUM", 53)
def section_checksum():
    return Forge(extras=[extra(checksum=0)], decoded=5).build()


@case("S4", "E_DECODED_SIZE", 60)
def lengths_of_streams_moved():
    """Index of 2 bytes where 1 is right, and one byte of the values lost: the sum is what it should be."""
    kept = struct.pack("<2f", 1, 2)
    return Forge(tensors=[tensor("a", b"\x40" + kept, [2], [2, 2, 1, 2, 0, 0, 1, 7])], decoded=8).build()


@case("S4", "E_COUNT", 55)
def stream_too_short():
    return Forge(tensors=[tensor("a", bytes(7), [2], [0, 0, 1, 7])], decoded=8).build()


@case("S4", "E_DECODED_SIZE", 63)
def stream_too_long():
    return Forge(tensors=[tensor("a", bytes(9), [2], [0, 0, 1, 9])], decoded=8).build()


@case("S4", "E_DECODED_SIZE", 55)
def constant_without_symbol():
    return Forge(tensors=[tensor("a", b"", [2], [0, 0, 0, 0])], decoded=8).build()


@case("S4", "E_DECODED_SIZE", 56)
def constant_of_two_symbols():
    return Forge(tensors=[tensor("a", b"\0\0", [2], [0, 0, 0, 2])], decoded=8).build()


@case("S4", "E_PADDING", 59)
def padding_bits_in_raw():
    return shared(b"\x41", count=2, entries=2).build()


@case("S4", "E_INDEX", 59)
def index_beyond_the_codebook():
    return shared(bits("00 11"), count=2, entries=3).build()


@case("S4", "E_INDEX", 59)
def constant_beyond_the_codebook():
    return shared(b"\3", count=2, entries=3, coder=0).build()


@case("S4", "E_COUNT", 61)
def bitmap_of_another_count():
    return pruned(bits("1110"), [4], [0, 2, 0]).build()


@case("S4", "E_PADDING", 61)
def bitmap_with_bits_behind_the_end():
    return pruned(bits("1100 1"), [4], [0, 2, 0]).build()


@case("S4", "E_INDEX", 61)
def place_behind_the_end():
    return pruned(bits("0010 0010"), [4], [4, 2, 0]).build()


@case("S4", "E_INDEX", 61)
def gap_without_a_weight():
    return pruned(bits("01 11"), [8], [2, 1, 1]).build()


@case("S4", "E_COUNT", 61)
def index_of_another_count():
    return pruned(bits("01 01"), [8], [2, 1, 1]).build()


@case("S4", "E_HUFFMAN", 59)
def huffman_length_0():
    return shared(bits("00 0 0000 1 0110"), 4, 2, coder=2).build()


@case("S4", "E_HUFFMAN", 60)
def huffman_over_full():
    return shared(bits("00 0 0010 001 1 0110 0110"), 4, 3, coder=2).build()


@case("S4", "E_HUFFMAN", 60)
def huffman_not_full():
    return shared(bits("00 0 0010 1 1 00 01 10"), 3, 3, coder=2).build()


@case("S4", "E_HUFFMAN", 60)
def huffman_longer_than_15():
    return shared(bits("00 0 1111 01 0110 0110 0110"), 4, 3, coder=2).build()


@case("S4", "E_HUFFMAN", 59)
def huffman_of_one_symbol():
    return shared(bits("00 0 0001 1 0000"), 4, 2, coder=2).build()


@case("S4", "E_HUFFMAN", 59)
def huffman_not_optimal():
    """Lengths 1, 2, 3, 3 for four symbols that are equally frequent: 2, 2, 2, 2 is shorter."""
    return shared(bits("00 0 0001 01 01 1 0 10 110 111"), 4, 4, coder=2).build()


@case("S4", "E_PADDING", 60)
def huffman_padding():
    return shared(bits("00 0 0001 1 0110 0001"), 4, 2, coder=2).build()


@case("S4", "E_DECODED_SIZE", 61)
def huffman_bytes_behind_the_end():
    return shared(bits("00 0 0001 1 0110 0000 0000 0000"), 4, 2, coder=2).build()


@case("S4", "E_DECODED_SIZE", 61)
def huffman_ends_too_early():
    return shared(bits("00 0 0001 1 0110 0110"), 16, 2, coder=2).build()


@case("S4", "E_COUNT", 63)
def huffman_count_beyond_the_bits():
    return shared(bits("00 0 0001 1 0110 0110"), 2**20, 2, coder=2).build()


@case("S4", "E_ANS", 63)
def rans_state_below_2_16():
    return shared(RANS_TABLE + b"\xff\xff\0\0", 4, 2, coder=3).build()


@case("S4", "E_ANS", 63)
def rans_state_that_ends_elsewhere():
    return shared(RANS_TABLE + b"\0\0\0\x7f", 4, 2, coder=3).build()


@case("S4", "E_ANS", 59)
def rans_table_of_equal_cost():
    """flat = 1 expects the same grades of two classes and takes as many bits: the first of equals is flat = 0."""
    return shared(bits("0000 00 000 1 00000001 1100 110") + RANS_STATE, 4, 2, coder=3).build()


@case("S4", "E_ANS", 61)
def rans_grade_beyond_the_largest():
    return shared(bits("0000 00 000 0 00000001 1111 0000 0000 0000") + RANS_STATE, 4, 2, coder=3).build()


@case("S4", "E_INDEX", 59)
def rans_class_outside_the_alphabet():
    return shared(bits("1000 00 000 0 00000010 1100 1100 1100") + RANS_STATE, 4, 2, coder=3).build()


@case("S4", "E_PADDING", 62)
def rans_padding():
    return shared(RANS_TABLE[:3] + b"\1" + RANS_STATE, 4, 2, coder=3).build()


@case("S4", "E_DECODED_SIZE", 67)
def rans_bytes_behind_the_end():
    return shared(RANS_TABLE + RANS_STATE + b"\0", 4, 2, coder=3).build()


@case("S4", "E_DECODED_SIZE", 67)
def rans_ends_too_early():
    return shared(RANS_TABLE + RANS_STATE, 16, 2, coder=3).build()


@case("S4", "E_COUNT", 71)
def rans_count_beyond_the_bytes():
    return shared(RANS_TABLE + RANS_STATE, 2**20, 2, coder=3).build()


# Levels 0 1 0 -1 / -1 0 0 -1: symbols 0 2 0 1 / 1 0 0 1 of an alphabet of 3.
EIGHT = bytes.fromhex("2c7e72")


@case("S4", "E_DECODED_SIZE", 61)
def context_without_a_byte():
    return stepped(b"", [2, 4], 3, coder=4).build()


@case("S4", "E_INDEX", 61)
def context_mean_beyond_the_largest():
    return stepped(b"\xa0" + EIGHT[1:], [2, 4], 3, coder=4).build()


@case("S4", "E_INDEX", 61)
def context_mean_of_others():
    """Zeros, with a logarithm of 1/4 that rounds to the same number as 0, but a writer says 0."""
    return stepped(b"\x01\x01", [2, 4], 3, coder=4).build()


@case("S4", "E_DECODED_SIZE", 65)
def context_ends_too_early():
    """Forty symbols of 3 bits each in 4 bytes."""
    return shared(bytes.fromhex("99f3884d"), 40, 8, coder=4).build()


@case("S4", "E_DECODED_SIZE", 65)
def context_zero_behind_the_end():
    return stepped(EIGHT + b"\0", [2, 4], 3, coder=4).build()


@case("S4", "E_INDEX", 64)
def context_level_beyond_the_alphabet():
    """0 -2 0 -1 / -1 0 0 -1, in an alphabet of 0, -1 and 1."""
    return stepped(bytes.fromhex("2d813a"), [2, 4], 3, coder=4).build()


@case("S4", "E_INDEX", 62)
def context_level_without_end():
    """Nothing but ones: a level of 2^31 and more."""
    return stepped(b"\x30", [2, 4], 3, coder=4).build()


@case("S4", "E_INDEX", 59)
def context_symbol_beyond_the_alphabet():
    """Nothing but ones: symbol 7 of 5."""
    return shared(b"", 4, 5, coder=4).build()


@case("S4", "E_INDEX", 63)
def context_symbol_of_63_bits():
    return shared(b"", 4, 300, coder=4).build()


@case("S4", "E_DECODED_SIZE", 68)
def context_number_behind_the_range():
    return shared(b"\xff" * 9, 4, 8, coder=4).build()


@case("S4", "E_COUNT", 65)
def context_count_beyond_the_bytes():
    return stepped(EIGHT, [2, 2**20], 3, coder=4).build()


@case("S4", "E_COUNT", 61)
def context_of_one_symbol():
    return stepped(b"\0", [2, 4], 1, coder=4).build()


def of_two_blocks(size: bytes) -> bytes:
    """One row of 2^19 + 1 levels: the size of the first block as given, and 12 bytes."""
    return stepped(b"\0" + size + bytes(12), [2**19 + 1], 3, coder=4).build()


@case("S4", "E_SPAN", 78)
def context_block_behind_the_end():
    return of_two_blocks(b"\x0d")


@case("S4", "E_SPAN", 65)
def context_size_that_never_ends():
    return of_two_blocks(b"\xff" * 5)


@case("S4", "E_SPAN", 65)
def context_size_not_in_shortest_form():
    return of_two_blocks(b"\x8c\0")


@case("S5", "E_NONFINITE", 55)
def nan_unannounced():
    return Forge(tensors=[floats(values=(1.0, math.nan))], decoded=8).build()


@case("S4", "E_INDEX", 60)
def level_beyond_the_alphabet():
    return stepped(bits("00 11"), [2], 3).build()


@case("S4", "E_COUNT", 60)
def alphabet_beyond_the_levels():
    return stepped(bits("00 01"), [2], 3).build()


@case("S5", "E_NONFINITE", 60, nonfinite="allow")
def step_of_nan():
    return stepped(bits("00 10"), [2], 3, math.nan).build()


@case("S5", "E_NONFINITE", 60)
def step_of_infinity():
    return stepped(bits("00 10"), [2], 3, math.inf).build()


@case("S5", "E_NONFINITE", 60)
def step_of_zero():
    return stepped(bits("00 10"), [2], 3, 0.0).build()


@case("S5", "E_NONFINITE", 60)
def step_below_zero():
    return stepped(bits("00 10"), [2], 3, -0.5).build()


@case("S5", "E_NONFINITE", 59)
def infinity_in_a_spare_centroid():
    return shared(bits("00 01"), 2, 3, values=(0.0, 1.0, math.inf)).build()


# surgery ---------------------------------------------------------------------------------------------------------


def with_log(text: str) -> bytes:
    """A file without tensors that holds this as its log."""
    data = text.encode()
    return Forge(extras=[extra("surgery", data)], decoded=len(data)).build()


def log_of(*steps: str, version: str = "1") -> bytes:
    return with_log(f'{{"format":"featherweight surgery","version":{version},"steps":[{",".join(steps)}]}}')


def cuts(runs: str) -> str:
    return f'{{"do":"remove","tensors":{{"a":[[0,4,{runs}]]}},"set":[]}}'


def setting(text: str) -> str:
    return f'{{"do":"remove","tensors":{{}},"set":[{text}]}}'


def module(text: str) -> str:
    return f'{{"do":"replace","modules":[["a",{text}]]}}'


@case("L1", "E_LOG", 56)
def log_that_is_no_json():
    return with_log("[[0, 4")


@case("L1", "E_LOG", 56)
def log_that_is_a_number():
    return with_log("4")


@case("L1", "E_LOG", 57)
def log_of_another_version():
    return log_of(cuts("[[0,2]]"), version="2")


@case("L1", "E_LOG", 57)
def log_without_steps():
    return log_of()


@case("L1", "E_LOG", 57)
def log_with_room_in_it():
    return log_of(" " + cuts("[[0,2]]"))


@case("L1", "E_LOG", 57)
def log_with_a_key_twice():
    return log_of('{"do":"remove","do":"remove","tensors":{},"set":[]}')


@case("L1", "E_LOG", 57)
def log_of_an_unknown_step():
    return log_of('{"do":"run","tensors":{},"set":[]}')


@case("L1", "E_LOG", 57)
def log_of_runs_that_overlap():
    return log_of(cuts("[[0,2],[1,2]]"))


@case("L1", "E_LOG", 57)
def log_of_runs_that_touch():
    return log_of(cuts("[[0,2],[2,1]]"))


@case("L1", "E_LOG", 57)
def log_of_a_run_behind_the_end():
    return log_of(cuts("[[3,2]]"))


@case("L1", "E_LOG", 57)
def log_that_keeps_nothing():
    return log_of(cuts("[]"))


@case("L1", "E_LOG", 57)
def log_that_sets_a_text():
    return log_of(setting('["a","name","x"]'))


@case("L1", "E_LOG", 57)
def log_that_reaches_for_a_class():
    return log_of(setting('["a","__class__.size",1]'))


@case("L1", "E_LOG", 57)
def log_of_a_module_not_in_the_list():
    return log_of(module('{"kind":"os.system"}'))


@case("L1", "E_LOG", 57)
def log_of_a_module_of_another_setting():
    return log_of(module('{"kind":"Linear","in_features":1,"out_features":1,"device":"cuda"}'))


@case("L1", "E_LOG", 57)
def log_of_a_module_beyond_any_memory():
    return log_of(module('{"kind":"Linear","in_features":2147483648,"out_features":2147483648}'))


@case("L2", "E_BUDGET", 57, limits={"decoded_bytes": 1000})
def log_of_a_module_beyond_the_limit():
    return log_of(module('{"kind":"Linear","in_features":100,"out_features":100}'))


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
