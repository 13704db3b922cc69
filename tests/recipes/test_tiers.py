import pytest

from featherweight.errors import UnknownNameError
from featherweight.recipes.tiers import TIERS, coders


def names(word):
    return {type(coder).__name__ for coder in coders(word)}


def test_one_coder_brings_those_that_cost_nothing():
    assert names("huffman") == {"Raw", "Constant", "Huffman"}
    assert names("raw") == {"Raw", "Constant"}


def test_tiers():
    assert names("fast") == {"Raw", "Constant", "Rans"}
    assert names("small") >= {"Raw", "Constant", "Huffman", "Rans", "ContextRange"}


@pytest.mark.parametrize(("word", "nearest"), [("smal", "small"), ("hufman", "huffman"), ("tables", "constant")])
def test_unknown_words(word, nearest):
    with pytest.raises(UnknownNameError) as caught:
        coders(word)
    assert "coder" in str(caught.value)
    assert nearest in str(caught.value) or word == "tables"


def test_every_tier_can_be_made():
    assert all(coders(word) for word in TIERS)
