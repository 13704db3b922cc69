"""Views gather the right examples and copy none."""

import pytest
import torch

from featherweight.core.examples import TensorExamples
from featherweight.data.views import Mapped, Subset, first
from featherweight.errors import DataError


@pytest.fixture
def ten():
    return TensorExamples(torch.arange(10.0).reshape(10, 1), torch.arange(10))


def test_a_subset_gathers_through_its_indices(ten):
    view = Subset(ten, torch.tensor([7, 2, 5]))
    batch = view.gather(torch.tensor([2, 0]))
    assert len(view) == 3
    assert batch.target.tolist() == [5, 7]
    assert batch.inputs[0].flatten().tolist() == [5.0, 7.0]


def test_a_subset_of_a_subset_gathers_once(ten):
    inner = Subset(Subset(ten, torch.tensor([9, 8, 7, 6])), torch.tensor([3, 1]))
    assert inner.base is ten
    assert inner.gather(torch.arange(2)).target.tolist() == [6, 8]


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_an_error_that_names_it(ten, index):
    with pytest.raises(DataError, match=str(index)):
        Subset(ten, torch.tensor([0, index]))


def test_mapped_changes_inputs_and_leaves_targets(ten):
    batch = Mapped(ten, lambda x: x * 2).gather(torch.tensor([3]))
    assert batch.inputs[0].tolist() == [[6.0]]
    assert batch.target.tolist() == [3]


def test_mapped_may_give_several_inputs(ten):
    assert len(Mapped(ten, lambda x: (x, -x)).gather(torch.tensor([3])).inputs) == 2


def test_first_keeps_what_is_there(ten):
    assert first(ten, 20) is ten
    assert first(ten, 4).gather(torch.arange(4)).target.tolist() == [0, 1, 2, 3]
