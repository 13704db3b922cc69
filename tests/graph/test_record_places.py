"""Placing integers: by keyword, by position, one by one, in an index, and never by a guess."""

import torch

from featherweight.graph._record_calls import called
from featherweight.graph._record_named import Named, remarks
from featherweight.graph._record_places import pending_of, placed
from featherweight.graph.origins import Attribute

A, B = Attribute("", "a", None), Attribute("", "b", None)
aten = torch.ops.aten


def found(function, args, kwargs, given, is_bound=True):
    pending = pending_of(args, kwargs, is_bound)
    return placed(called(function), given, pending), pending.left


def test_calls_without_origins_have_nothing_pending():
    assert pending_of((1, [2], slice(1, 2)), {"dim": 3}) is None


def test_by_position_in_a_list_and_one_by_one():
    given = {"self": object(), "size": [4, 4, 2]}
    expected = {("size", 0): A, ("size", 1): B}
    assert found(aten.view.default, (None, (Named(4, A), Named(4, B), 2)), {}, given) == (expected, [])
    assert found(aten.view.default, (None, Named(4, A), Named(4, B), 2), {}, given) == (expected, [])


def test_by_keyword_and_its_synonyms():
    given = {"self": object(), "dim": 1, "start": 1, "length": 1}
    result = found(aten.narrow.default, (None,), {"dim": 1, "start": Named(1, A), "length": Named(1, B)}, given)
    assert result == ({("start", None): A, ("length", None): B}, [])
    assert found(aten.sum.dim_IntList, (None,), {"axis": Named(1, A)}, {"self": 0, "dim": [1]})[0] == {("dim", 0): A}


def test_one_integer_for_all_items_of_a_list():
    given = {"stride": [2, 2], "padding": [2, 1]}
    taken, left = found(aten.conv2d.default, (None, None, None), {"stride": Named(2, A)}, given)
    assert taken == {("stride", 0): A, ("stride", 1): A}
    assert left == []


def test_an_index_is_taken_apart_over_several_operators():
    index = (slice(Named(1, A), Named(3, B)), Named(3, A))
    pending = pending_of((None, index), {})
    cut = placed(called(aten.slice.Tensor), {"self": 0, "dim": 0, "start": 1, "end": 3}, pending)
    assert cut == {("start", None): A, ("end", None): B}
    chosen = placed(called(aten.select.int), {"self": 0, "dim": 1, "index": 3}, pending)
    assert chosen == {("index", None): A}
    assert pending.left == []


def test_a_single_fitting_argument_is_found_by_its_value():
    given = {"self": object(), "size": [5, 7]}
    assert found(aten.view.default, (Named(7, A),), {}, given, is_bound=False) == ({("size", 1): A}, [])


def test_what_could_stand_in_two_arguments_is_not_placed():
    given = {"self": object(), "size": [7, 7]}
    taken, left = found(aten.view.default, (Named(7, A),), {}, given, is_bound=False)
    assert taken == {}
    assert len(left) == 1
    taken, left = found(aten.view.default, (Named(7, A), Named(7, B)), {}, {"size": [7, 2]}, is_bound=False)
    assert taken == {}
    assert len(left) == 2


def test_values_that_differ_are_not_placed():
    assert found(aten.view.default, (None, (Named(4, A), 2)), {}, {"size": [5, 2]})[0] == {}
    assert found(aten.all.dim, (None, Named(1, A)), {}, {"self": 0, "keepdim": True})[0] == {}


def test_looking_for_places_compares_nothing_in_the_name_of_the_code():
    """Two attributes of one value may be moved apart: that both are 2 is chance unless the code asks."""
    with remarks() as noted:
        given = {"self": object(), "stride": [2, 2], "groups": 2}
        found(aten.conv2d.default, (None, None), {"a": Named(2, A), "b": Named(2, B)}, given)
        found(aten.select.int, (Named(7, A),), {"b": Named(7, B)}, {"self": object(), "dim": 0, "index": 7})
    assert not noted.equal and not noted.unequal
