"""Constraints belong to a model by parameter name, beside its weights."""

import copy

import torch
from torch import nn

from featherweight.encodings.sparse import Sparse
from featherweight.training.constraints import Constraint, constrain, constraints_of


def _constrained():
    model = nn.Linear(3, 2)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    constraint = Sparse.of(model.weight.detach() * mask, mask)
    constrain(model, {"weight": constraint})
    return model, constraint


def test_a_model_has_none_at_first():
    assert constraints_of(nn.Linear(3, 2)) == {}


def test_an_encoding_is_a_constraint():
    assert isinstance(_constrained()[1], Constraint)


def test_what_is_given_out_is_a_copy():
    model, constraint = _constrained()
    constraints_of(model).clear()
    assert constraints_of(model) == {"weight": constraint}


def test_what_is_taken_in_is_a_copy_that_replaces_what_was_there():
    model, constraint = _constrained()
    given = {"bias": constraint}
    constrain(model, given)
    given.clear()
    assert constraints_of(model) == {"bias": constraint}
    constrain(model, {})
    assert constraints_of(model) == {}


def test_they_travel_with_a_deep_copy_and_not_with_the_state():
    model, _ = _constrained()
    twin = copy.deepcopy(model)
    assert set(constraints_of(twin)) == {"weight"}
    assert set(model.state_dict()) == {"weight", "bias"}
    constrain(twin, {})
    assert set(constraints_of(model)) == {"weight"}
