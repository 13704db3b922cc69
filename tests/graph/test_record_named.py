"""Named integers: integers in every respect, with an expression that follows arithmetic."""

import copy
import json
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featherweight.graph._record_named import Named, expr_of, named_attributes
from featherweight.graph.origins import Attribute, Constant, Operation, evaluate

HEADS, WIDTH = Attribute("", "heads", None), Attribute("", "width", None)


def named(value, origin=HEADS):
    return Named(value, origin)


OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "neg": lambda a, b: -a - b,
}


@pytest.mark.parametrize("kind", OPERATIONS)
@given(left=st.integers(-50, 50), right=st.integers(-50, 50).filter(bool))
def test_arithmetic_gives_the_integer_and_its_expression(kind, left, right):
    operation = OPERATIONS[kind]
    values = {HEADS: left, WIDTH: right}
    pairs = [(named(left), named(right, WIDTH)), (named(left), right), (left, named(right, WIDTH))]
    for a, b in pairs:
        result = operation(a, b)
        assert result == operation(left, right)
        assert isinstance(result, Named)
        assert evaluate(result.expr, values.__getitem__) == result


def test_the_sides_of_an_operation_keep_their_order():
    assert (10 - named(4)).expr == Operation("sub", Constant(10), HEADS)
    assert (named(4) - 10).expr == Operation("sub", HEADS, Constant(10))
    assert (+named(4)).expr == HEADS


def test_other_arithmetic_is_that_of_plain_numbers():
    results = [named(6) / 2, named(6) ** 2, named(6) * 0.5, 0.5 + named(6), abs(named(-6)), divmod(named(7), 2)]
    assert results == [3.0, 36, 3.0, 6.5, 6, (3, 1)]
    assert not any(isinstance(item, Named) for item in results)
    assert [0] * named(2) == [0, 0]
    assert "ab" * named(2) == "abab"
    with pytest.raises(TypeError):
        named(2) + "a"


def test_it_is_an_integer_in_every_other_respect():
    number = named(6)
    assert (hash(number), repr(number), f"{number:03d}", json.dumps([number])) == (hash(6), "6", "006", "[6]")
    assert {6: "x"}[number] == "x"
    assert list(range(10))[number] == 6
    assert type(int(number)) is int
    assert copy.deepcopy([number])[0] is number
    assert number.__reduce__() == (int, (6,))
    assert torch.zeros(number, number).shape == (6, 6)


def test_expressions_that_grow_without_end_are_let_go():
    total = named(1)
    for _ in range(200):
        total = total + named(1)
    assert total == 201
    assert getattr(total, "terms", 1) <= 64


Pair = namedtuple("Pair", "a b")


class Settings(nn.Module):
    def __init__(self):
        super().__init__()
        self.width, self.flag, self.rate, self.word = 4, True, 0.5, "x"
        self.sizes, self.order, self.pair, self.none = (2, 3), [1, None, 2], Pair(1, 2.0), None
        self.config = SimpleNamespace(heads=2, inner=SimpleNamespace(depth=3))
        self.config.inner.up = self.config
        self.act = torch.relu


def test_attributes_are_named_during_a_run_and_put_back():
    model = nn.Sequential(Settings())
    inner = model[0]
    before = dict(vars(inner))
    with named_attributes(model) as values:
        assert inner.width.expr == Attribute("0", "width", None)
        assert [expr_of(item) for item in inner.sizes] == [Attribute("0", "sizes", place) for place in (0, 1)]
        assert (type(inner.sizes), type(inner.order), type(inner.pair)) == (tuple, list, Pair)
        assert inner.order[2].expr == Attribute("0", "order", 2)
        assert inner.pair.a.expr == Attribute("0", "pair", 0)
        assert inner.config.heads.expr == Attribute("0", "config.heads", None)
        assert inner.config.inner.depth.expr == Attribute("0", "config.inner.depth", None)
        assert (inner.flag is True, type(inner.rate), inner.word) == (True, float, "x")
        assert values[Attribute("0", "config.inner.depth", None)] == 3
        inner.width, inner.new, inner.config.kept = 7, named(3), [named(1), "a"]
    after = dict(vars(inner))
    assert type(after.pop("new")) is int
    assert all(after[key] is before[key] for key in before)
    assert (inner.config.heads, inner.config.inner.depth) == (2, 3)
    assert [type(item) for item in (inner.config.heads, inner.config.kept[0])] == [int, int]


def test_what_is_shared_has_one_origin():
    model = nn.Sequential(Settings(), Settings())
    model[1].config = model[0].config
    with named_attributes(model):
        assert model[1].config.heads.expr == Attribute("0", "config.heads", None)
    assert type(model[0].config.heads) is int


def test_attributes_are_put_back_after_an_exception():
    model = Settings()
    with pytest.raises(ValueError, match="so"), named_attributes(model):
        raise ValueError("so")
    assert type(model.width) is int
    assert type(model.config.heads) is int
