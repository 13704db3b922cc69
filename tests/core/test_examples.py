"""Examples: every source gives the same batches."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from featherweight.core.examples import Batch, Examples, TensorExamples, as_examples, batches
from featherweight.errors import DataError

INPUTS = torch.arange(20.0).reshape(10, 2)
TARGET = torch.arange(10)


class Generated:
    """Examples of the user's own: made when asked for."""

    def __len__(self) -> int:
        return 10

    def gather(self, indices):
        return Batch((INPUTS[indices],), TARGET[indices])


class Rows(Dataset):
    """A map-style dataset of two inputs and a target."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index):
        return INPUTS[index], INPUTS[index] + 1, int(TARGET[index])


@pytest.mark.parametrize(
    "source",
    [
        (INPUTS, TARGET),
        [INPUTS, TARGET],
        TensorDataset(INPUTS, TARGET),
        DataLoader(TensorDataset(INPUTS, TARGET), batch_size=3, shuffle=True),
        TensorExamples(INPUTS, TARGET),
        Generated(),
    ],
    ids=["tuple", "list", "dataset", "loader", "tensors", "own"],
)
def test_every_source_gathers_the_same(source):
    examples = as_examples(source)
    assert isinstance(examples, Examples)
    assert len(examples) == 10
    inputs, target = examples.gather(torch.tensor([7, 0, 7]))
    assert len(inputs) == 1
    assert torch.equal(inputs[0], INPUTS[[7, 0, 7]])
    assert torch.equal(target, torch.tensor([7, 0, 7]))


def test_several_inputs():
    for source in (Rows(), (INPUTS, INPUTS + 1, TARGET)):
        inputs, target = as_examples(source).gather(torch.tensor([4]))
        assert [tuple(part.shape) for part in inputs] == [(1, 2), (1, 2)]
        assert torch.equal(inputs[1], inputs[0] + 1)
        assert target.tolist() == [4]


def test_a_transform_sees_the_gathered_inputs_only():
    seen = []

    def halve(images):
        seen.append(tuple(images.shape))
        return images / 2

    examples = TensorExamples(INPUTS, TARGET, transform=halve)
    inputs, _ = examples.gather(torch.tensor([1, 3]))
    assert torch.equal(inputs[0], INPUTS[[1, 3]] / 2)
    assert seen == [(2, 2)]


def test_a_transform_may_give_several_inputs():
    examples = TensorExamples(INPUTS, TARGET, transform=lambda images: (images, -images))
    inputs, _ = examples.gather(torch.tensor([2]))
    assert torch.equal(inputs[1], -INPUTS[[2]])


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match="differ in length") as caught:
        TensorExamples(INPUTS, TARGET[:9])
    assert caught.value.value == [10, 9]


@pytest.mark.parametrize(
    "source",
    [3, "mnist", b"mnist", INPUTS, (INPUTS,), (INPUTS, [1, 2]), {"x": INPUTS}, iter([INPUTS]), None],
    ids=lambda source: type(source).__name__,
)
def test_what_is_no_data_is_refused_with_the_way_out(source):
    with pytest.raises(DataError, match="cannot be read as examples") as caught:
        as_examples(source, where="task.train")
    assert caught.value.where == "task.train"
    assert caught.value.value == type(source).__name__
    assert "DataLoader" in caught.value.fix


def test_a_plain_list_of_items_is_a_dataset():
    inputs, target = as_examples([(INPUTS[0], 0), (INPUTS[1], 1)]).gather(torch.tensor([1]))
    assert torch.equal(inputs[0], INPUTS[[1]])
    assert target.tolist() == [1]


def test_no_examples_at_all_are_refused():
    with pytest.raises(DataError, match="holds no examples"):
        as_examples((INPUTS[:0], TARGET[:0]), where="task.validation")


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (10, [10]), (64, [10]), (1, [1] * 10)])
def test_batches_in_order(size, sizes):
    made = list(batches(as_examples((INPUTS, TARGET)), size))
    assert [len(batch.target) for batch in made] == sizes
    assert torch.equal(torch.cat([batch.target for batch in made]), TARGET)


def test_batches_in_a_given_order():
    order = torch.tensor([9, 1, 5])
    made = list(batches(as_examples((INPUTS, TARGET)), 2, order))
    assert [batch.target.tolist() for batch in made] == [[9, 1], [5]]
