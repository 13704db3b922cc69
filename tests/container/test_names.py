import pytest

from featherweight.container.names import colliding, fault

GOOD = [
    "a",
    "conv1.weight",
    "layers.0.self_attn.in_proj_weight",
    "größe",
    "重み",
    "a b",
    "x:0",
    "x" * 255,
    "é" * 127,
    "_-$@",
]
BAD = {
    "": "empty",
    "a\0": "U+0000",
    "a\nb": "U+000A",
    "a\x7f": "U+007F",
    "a\x9b": "U+009B",
    "a/b": "U+002F",
    "../../etc": "U+002F",
    "a\\b": "U+005C",
    "<script>": "U+003C",
    "a&b": "U+0026",
    'a"b': "U+0022",
    "a'b": "U+0027",
    "a`b": "U+0060",
    "a*/ system()": "U+002F",
    "a\u202eb": "U+202E",
    "a\u2066b": "U+2066",
    "a\u200bb": "U+200B",
    "a\u00adb": "U+00AD",
    "a\ufeff": "U+FEFF",
    "a\uffff": "U+FFFF",
    "a\U000e0041": "U+E0041",
    "a\ud800": "U+D800",
    ".": "dots",
    "..": "dots",
    ".a": "dots",
    "a.": "dots",
    "a..b": "dots",
    "e\u0301": "normalisation",
    "x" * 256: "255 bytes",
    "é" * 128: "255 bytes",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name):
    assert fault(name) is None


@pytest.mark.parametrize("name", BAD)
def test_bad_names(name):
    assert BAD[name] in fault(name)


def test_the_limit_can_be_lower():
    assert fault("abcd", 4) is None
    assert "3 bytes" in fault("abcd", 3)


def test_names_that_differ_in_case_only_are_found():
    assert colliding(["a.weight", "b", "A.weight", "STRASSE", "straße"]) == ["A.weight", "straße"]
