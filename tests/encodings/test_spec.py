import pytest

from featherweight.encodings import _spec
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.entropy.constant import Constant
from featherweight.entropy.huffman import Huffman
from featherweight.entropy.raw import Raw
from featherweight.errors import EncodingError, FormatError


def test_numbers_in_the_file_never_change():
    assert {code: _spec.encodings()[code] for code in (0, 1, 2)} == {0: Dense, 1: Sparse, 2: Codebook}
    assert {code: _spec.coders()[code] for code in (0, 1, 2)} == {0: Constant, 1: Raw, 2: Huffman}


def test_two_of_one_number():
    with pytest.raises(EncodingError, match="same number"):
        _spec._by_code([Raw, Raw])


def test_the_tree_of_a_spec():
    root = _spec.parse((2, 8), (1, 4, 5, 0, 2, 9, 2, 3, 1, 2, 0, 17, 1, 6, 0, 3))
    assert [node.kind for node in root.walk()] == [Sparse, Codebook, Dense]
    assert [node.shape for node in root.walk()] == [(2, 8), (5,), (3,)]
    assert [node.streams for node in root.walk()] == [((2, 9),), ((1, 2),), ((1, 6), (0, 3))]
    assert [node.itemsize for node in root.walk()] == [4, 4, 4]
    assert root.depth == 3
    assert root.numel == 16


def test_a_field_is_missing():
    with pytest.raises(FormatError, match="ends before a field"):
        _spec.parse((2,), (1, 0))


def test_what_specs_end_with_is_remembered_and_still_looked_at():
    good = (2, 1, 0, 0, 0, 0, 1, 4)  # a codebook of one float32
    for _ in range(2):
        assert _spec.parse((3,), good).children[0].streams == ((1, 4),)
        with pytest.raises(FormatError, match="E_TRAILING"):
            _spec.parse((3,), (*good, 7))
        with pytest.raises(FormatError, match="ends before the bytes") as caught:
            _spec.parse((3,), good[:-1])
        assert caught.value.value == len(good) - 1
        with pytest.raises(FormatError, match="E_OVERFLOW"):
            _spec.parse((3,), (*good[:-2], True, 4))  # no number, although it equals one
        with pytest.raises(FormatError, match="E_OVERFLOW"):
            _spec.parse((3,), (*good[:-1], -1))
