"""Inputs and outputs in structures of all kinds."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from featherweight.errors import TraceError
from featherweight.graph._record_trees import cloned, named_tensors, opened

Pair = namedtuple("Pair", "a b")
X, Y = torch.zeros(2), torch.ones(3)


@dataclass
class Output:
    logits: torch.Tensor
    word: str = "a"
    parts: tuple = ()


def shape_of(tensor):
    return tuple(tensor.shape)


def test_copies_keep_the_structure_and_share_no_memory():
    tree = Pair(X, [{"k": Y, "n": 3}, None])
    copy = cloned(tree)
    assert isinstance(copy, Pair)
    assert copy.b[0]["n"] == 3
    copy.a.add_(1)
    copy.b[0]["k"].add_(1)
    assert (X.sum(), Y.sum()) == (0, 3)


def test_tensors_are_named_by_where_they_are():
    found = named_tensors(["x", "state"], (X, {"h": [Y, 4], "c": X}))
    assert [name for name, _ in found] == ["x", "state_h_0", "state_c"]


def test_structures_become_plain_ones():
    tree = OrderedDict(one=X, pair=Pair(Y, [None, True, 2, 0.5]), word="a")
    assert opened(tree, shape_of) == {"one": (2,), "pair": ((3,), [None, True, 2, 0.5]), "word": None}


def test_objects_are_opened_where_they_hold_tensors():
    cache = SimpleNamespace(layers=[SimpleNamespace(key=X), SimpleNamespace(key=Y, name="b")], size=4)
    cache.layers[0].cache = cache
    found = opened(Output(X, parts=(Y,)), shape_of)
    assert found == {"logits": (2,), "parts": [(3,)]}
    assert opened({"cache": cache}, shape_of) == {"cache": {"layers": [{"key": (2,)}, {"key": (3,)}]}}
    assert opened(SimpleNamespace(a=1), shape_of) is None


def test_keys_must_be_texts():
    with pytest.raises(TraceError, match="keys that are no texts"):
        opened({1: X}, shape_of)
