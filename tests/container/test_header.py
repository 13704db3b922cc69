import pytest

from featherweight.container import cbor
from featherweight.container import header as headers
from featherweight.container.limits import Limits
from featherweight.container.spec import Alias, ExtraRecord, Header
from featherweight.errors import FormatError, UsageError

DENSE = (0, 0, 1, 24)  # six float32 values in raw bytes


def header(**parts):
    tensor = headers.tensor_record("fc.weight", (2, 3), DENSE)
    return Header(**{"tensors": (tensor,), "graph": None, "aliases": (), "extras": ()} | parts)


FULL = header(graph=[1, ["a", None]], aliases=(Alias("tied", 0),), extras=(ExtraRecord("recipe", False, 7),))


def without_places(found):
    return [(item.name, *(getattr(item, key, None) for key in ("shape", "spec", "index", "length"))) for item in found]


def test_what_is_written_is_read():
    raw = headers.to_bytes(FULL)
    back = headers.from_bytes(raw, Limits())
    assert without_places(back.tensors) == without_places(FULL.tensors)
    assert back.aliases == FULL.aliases
    assert without_places(back.extras) == without_places(FULL.extras)
    assert back.graph == FULL.graph
    assert headers.to_bytes(back) == raw


def test_the_bytes():
    raw = headers.to_bytes(header(extras=(ExtraRecord("x", False, 3),)))
    assert raw == b"\x84\x81\x83\x69fc.weight\x82\x02\x03\x84\x00\x00\x01\x18\x18\xf6\x80\x81\x83\x61x\xf4\x03"


def test_names_that_begin_alike_are_written_once():
    names = ["layer1.conv.weight", "layer1.conv.bias", "layer2.conv.bias", "x", "xy", "y", "yé.a", "yé.b"]
    records = tuple(headers.tensor_record(name, (2, 3), DENSE) for name in names)
    raw = headers.to_bytes(Header(records, None, (), ()))
    assert b"\x84\x0c\x64bias" in raw
    assert b"\x84\x05\x6b2.conv.bias" in raw
    assert b"\x83\x62xy" in raw  # one character is not worth the count
    assert b"\x84\x03\x61b" in raw  # characters are counted, not bytes
    assert [record.name for record in headers.from_bytes(raw, Limits()).tensors] == names


def test_what_follows_from_shape_and_spec():
    record = headers.tensor_record("a", (2, 3), DENSE)
    assert (record.length, record.decoded) == (24, 24)
    assert headers.decoded_bytes(FULL) == 24 + 7


def test_records_know_their_place():
    back = headers.from_bytes(headers.to_bytes(FULL), Limits())
    assert back.tensors[0].offset == 42
    raw = headers.to_bytes(FULL)
    assert raw[back.extras[0].offset - 40 :].startswith(b"\x83\x66recipe")


def test_a_wrong_spec_names_the_tensor_and_its_place():
    with pytest.raises(FormatError) as caught:
        headers.tensor_record("fc.weight", (2, 3), (77,), offset=1234)
    assert (caught.value.code, caught.value.section, caught.value.offset) == ("E_VERSION", "fc.weight", 1234)
    assert str(caught.value).count("E_VERSION") == 1


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"tensors": 1}, "E_BUDGET"),
        ({"rank": 1}, "E_BUDGET"),
        ({"dimension": 2}, "E_BUDGET"),
        ({"elements": 5}, "E_BUDGET"),
        ({"extras": 0}, "E_BUDGET"),
        ({"extra_bytes": 6}, "E_BUDGET"),
        ({"name_bytes": 8}, "E_NAME"),
        ({"decoded_bytes": 23}, "E_BUDGET"),
        ({"header_items": 10}, "E_BUDGET"),
        ({"depth": 1}, "E_METADATA"),
    ],
)
def test_every_limit_holds_and_is_inclusive(limits, code):
    raw = headers.to_bytes(FULL)
    with pytest.raises(FormatError) as caught:
        headers.from_bytes(raw, Limits(**limits))
    assert caught.value.code == code
    exact = {
        "tensors": 2,
        "rank": 2,
        "dimension": 3,
        "elements": 6,
        "extras": 1,
        "extra_bytes": 7,
        "name_bytes": 9,
        "decoded_bytes": 24,
        "header_items": 100,
        "depth": 4,
    }
    assert headers.from_bytes(raw, Limits(**{name: exact[name] for name in limits}))


def test_a_count_is_refused_before_anything_is_reserved():
    raw = b"\x84\x9a\x00\xff\xff\xff" + bytes(1000)
    with pytest.raises(FormatError) as caught:
        headers.from_bytes(raw, Limits())
    assert (caught.value.code, caught.value.offset) == ("E_COUNT", 41)


def test_what_the_notation_cannot_hold_is_not_written():
    with pytest.raises(UsageError):
        headers.to_bytes(header(graph=[2**63]))


@pytest.mark.parametrize("graph", [0, "graph", True, 1.5, b"x"])
def test_a_graph_is_an_array_or_null(graph):
    with pytest.raises(FormatError) as caught:
        headers.from_bytes(cbor.encode([[], graph, [], []]), Limits())
    assert (caught.value.code, caught.value.offset) == ("E_GRAPH", 42)
