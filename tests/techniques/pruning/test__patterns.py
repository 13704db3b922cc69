"""Patterns that name nothing are found before anything changes."""

import copy

import pytest
import torch
from tests.techniques.pruning.layer.conftest import deep, toy

from featherweight.errors import TechniqueError
from featherweight.techniques.pruning._patterns import all_match
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.techniques.pruning.layer.block_removal import BlockRemoval

NAMES = ["", "stem", "layers.0.conv", "head"]


def test_patterns_that_name_something_pass():
    assert all_match(["stem", "layers.*", "*.conv", "*"], NAMES, "keep") is None


@pytest.mark.parametrize(("pattern", "told"), [("haed", "Did you mean 'head'"), ("zzz.*", "There are stem, layers.0")])
def test_one_that_names_nothing_is_refused_with_what_would_work(pattern, told):
    with pytest.raises(TechniqueError, match=told) as caught:
        all_match(["stem", pattern], NAMES, "keep")
    assert (caught.value.where, caught.value.value) == ("keep", pattern)


@pytest.mark.parametrize(
    "technique",
    [
        Norm(ratio=0.5, keep=("one.*", "hed")),
        BlockRemoval(keep=("hed",)),
        BlockRemoval(blocks=("hed",)),
    ],
    ids=str,
)
def test_techniques_refuse_them_and_leave_the_model_as_it_was(technique):
    model = deep()
    context, before = toy(model), copy.deepcopy(model.state_dict())
    with pytest.raises(TechniqueError, match=r"hed.*Did you mean 'head'"):
        technique.apply(model, context)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
