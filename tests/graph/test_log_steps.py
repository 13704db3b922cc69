"""Steps check themselves, and read back what they write."""

import json

import pytest
import torch

from featherweight.errors import UsageError
from featherweight.graph._log_steps import Cut, Removal, Replacement, is_integer, is_name, read_step

IDENTITY = {"kind": "Identity"}


@pytest.mark.parametrize("kept", [[0], [7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4], [1, 2, 5, 6, 7]])
def test_a_cut_gives_back_the_indices_it_was_made_of(kept):
    cut = Cut.of(1, 8, torch.tensor(kept))
    assert cut.indices().tolist() == kept
    assert cut.count == len(kept)
    assert cut == Cut.of(1, 8, kept)


def test_a_cut_joins_neighbours_to_runs():
    assert Cut.of(0, 9, [1, 2, 3, 6, 8]).kept == ((1, 3), (6, 1), (8, 1))


@pytest.mark.parametrize(
    ("dim", "size", "kept", "message"),
    [
        (-1, 4, ((0, 1),), "dimension"),
        (32, 4, ((0, 1),), "dimension"),
        (True, 4, ((0, 1),), "dimension"),
        (0, 0, ((0, 1),), "size"),
        (0, 2**31 + 1, ((0, 1),), "size"),
        (0, 4, (), "at least one"),
        (0, 4, ((0, 0),), "ascend"),
        (0, 4, ((3, 2),), "ascend"),
        (0, 4, ((2, 1), (0, 1)), "ascend"),
        (0, 4, ((0, 2), (1, 1)), "ascend"),
        (0, 4, ((0, 2), (2, 1)), "gap"),  # one run, written as two
        (0, 4, ((0, 1, 2),), "run"),
        (0, 4, ((-1, 2),), "run"),
        (0, 4, ((0, 1.0),), "run"),
    ],
)
def test_wrong_cuts_are_refused(dim, size, kept, message):
    with pytest.raises(UsageError, match=message):
        Cut(dim, size, kept)


def test_indices_that_do_not_ascend_are_refused():
    for kept in ([3, 1], [1, 1], [], [9]):
        with pytest.raises(UsageError, match=r"Cut\.kept"):
            Cut.of(0, 4, kept)


CUT = Cut(0, 4, ((0, 2),))


@pytest.mark.parametrize(
    ("tensors", "settings", "message"),
    [
        ({"": (CUT,)}, (), "name of a tensor"),
        ({"a..b": (CUT,)}, (), "name of a tensor"),
        ({"a": ()}, (), "ascending dimensions"),
        ({"a": (CUT, CUT)}, (), "ascending dimensions"),
        ({}, (("a", "n", True),), "integer"),
        ({}, (("a", "n", 1.5),), "integer"),
        ({}, (("a", "n", (1, "2")),), "integer"),
        ({}, (("a", "n", 2**31 + 1),), "integer"),
        ({}, (("a", "", 1),), "attribute"),
        ({}, (("a", "x.", 1),), "attribute"),
        ({}, (("a", "__class__", 1),), "attribute"),
        ({}, (("a", "config.__dict__.n", 1),), "attribute"),
        ({}, (("a", "n", 1), ("a", "n", 2)), "once"),
    ],
)
def test_wrong_removals_are_refused(tensors, settings, message):
    with pytest.raises(UsageError, match=message):
        Removal(tensors, settings)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((("", IDENTITY),), "path"),
        ((("a", IDENTITY), ("a", IDENTITY)), "once"),
        ((("a.b.c", IDENTITY), ("a", IDENTITY)), "two steps"),
        ((("a", {"kind": "Nothing"}),), "Nothing"),
    ],
)
def test_wrong_replacements_are_refused(modules, message):
    with pytest.raises(UsageError, match=message):
        Replacement(modules)


@pytest.mark.parametrize(
    "step",
    [
        Removal({"conv.weight": (CUT, Cut.of(1, 5, [0, 4]))}, (("", "heads", 3), ("a", "config.sizes", (1, 2)))),
        Removal({}),
        Replacement((("block.0", IDENTITY), ("fc", {"kind": "Linear", "in_features": 2, "out_features": 1}))),
    ],
)
def test_steps_come_back_from_json(step):
    assert read_step(json.loads(json.dumps(step.plain()))) == step
    assert step.weight > 0 or step == Removal({})


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        {"do": "melt"},
        {"do": ["remove"]},
        {"do": "remove", "tensors": {}},
        {"do": "remove", "tensors": {}, "set": [], "more": 1},
        {"do": "remove", "tensors": [], "set": []},
        {"do": "remove", "tensors": {"a": 1}, "set": []},
        {"do": "remove", "tensors": {"a": [[0, 4]]}, "set": []},
        {"do": "remove", "tensors": {"a": [[0, 4, [0, 2]]]}, "set": []},
        {"do": "remove", "tensors": {"a": [[0, 4, [[0, "2"]]]]}, "set": []},
        {"do": "remove", "tensors": {"a": [["0", 4, [[0, 2]]]]}, "set": []},
        {"do": "remove", "tensors": {"a": [[[0], 4, [[0, 2]]]]}, "set": []},
        {"do": "remove", "tensors": {}, "set": {}},
        {"do": "remove", "tensors": {}, "set": [["a", "n"]]},
        {"do": "remove", "tensors": {}, "set": [[["a"], "n", 1]]},
        {"do": "remove", "tensors": {}, "set": [["a", ["n"], 1]]},
        {"do": "remove", "tensors": {}, "set": [["a", "n", {}]]},
        {"do": "replace"},
        {"do": "replace", "modules": {}},
        {"do": "replace", "modules": [["a"]]},
        {"do": "replace", "modules": [[["a"], {"kind": "Identity"}]]},
        {"do": "replace", "modules": [["a", None]]},
    ],
)
def test_data_that_is_no_step_is_refused(plain):
    with pytest.raises(UsageError):
        read_step(plain)


def test_names_and_integers():
    assert [is_name(name) for name in ("", "a", "a.b", "a..b", ".", 1, "x" * 1025)] == [True] * 3 + [False] * 4
    assert [is_integer(value, 0) for value in (0, -1, True, 1.0, 2**31 + 1)] == [True] + [False] * 4


def test_numbers_of_places_are_read_back_as_they_were_written():
    step = Removal({}, (), {"choice.indices": Cut.of(0, 9, [1, 2, 7])})
    plain = json.loads(json.dumps(step.plain()))
    assert plain["renumber"] == {"choice.indices": [9, [[1, 2], [7, 1]]]}
    assert list(plain) == ["do", "tensors", "set", "renumber"]
    assert read_step(plain) == step
    assert step.weight == 3
    assert "renumber" not in Removal({}).plain()


@pytest.mark.parametrize(
    ("renumber", "message"),
    [
        ([], "by name of tensor"),
        ({"": [4, [[0, 1]]]}, "without empty parts"),
        ({"a": [4]}, "2 entries"),
        ({"a": [0, 4, [[0, 1]]]}, "2 entries"),
        ({"a": [4, []]}, "at least one"),
        ({"a": [4, [[2, 3]]]}, "ascend"),
        ({"a": [2**31 + 1, [[0, 1]]]}, "size"),
    ],
)
def test_wrong_numbers_of_places_are_refused(renumber, message):
    with pytest.raises(UsageError, match=message):
        read_step({"do": "remove", "tensors": {}, "set": [], "renumber": renumber})


def test_a_replacement_counts_nothing_anew():
    with pytest.raises(UsageError, match="no other"):
        read_step({"do": "replace", "modules": [], "renumber": {}})
