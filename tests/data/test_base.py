"""Splits: carved from the training part alone, disjoint, the same for the same seed."""

import pytest
import torch

from featherweight.core.task import Task
from featherweight.data.base import Part, Parts, carve
from featherweight.data.normalize import Normalize
from featherweight.errors import DataError


def parts(train=600, test=50, validation=None):
    """Inputs equal their targets; test targets are negative, validation's above 10,000, so that a leak shows."""

    def part(start, count):
        values = torch.arange(start, start + count)
        return Part(values.float()[:, None], values)

    held = None if validation is None else part(10_000, validation)
    return Parts(train=part(0, train), test=part(-test, test) if test else None, validation=held, origin="here")


def targets(examples):
    return examples.gather(torch.arange(len(examples))).target.tolist()


def test_validation_and_training_partition_the_training_part():
    splits = carve(parts(), name="set")
    train, held = targets(splits.train), targets(splits.validation)
    assert sorted(train + held) == list(range(600))
    assert len(held) == 120  # a fifth, where a twelfth is below 1,000
    assert not set(train) & set(held)


def test_large_sets_hold_back_a_twelfth():
    assert len(carve(parts(train=60_000), name="set").validation) == 5_000


def test_no_split_but_test_sees_the_test_part():
    splits = carve(parts(), name="set")
    seen = targets(splits.train) + targets(splits.validation) + targets(splits.calibration)
    assert min(seen) >= 0
    assert targets(splits.test) == list(range(-50, 0))


def test_calibration_is_some_of_training():
    splits = carve(parts(), name="set", calibration=30)
    assert len(splits.calibration) == 30
    assert set(targets(splits.calibration)) <= set(targets(splits.train))


def test_the_seed_decides_who_is_held_back():
    one, same, other = (carve(parts(), name="set", seed=seed) for seed in (1, 1, 2))
    assert targets(one.validation) == targets(same.validation) != targets(other.validation)


def test_a_published_validation_part_is_kept_and_training_stays_whole():
    splits = carve(parts(validation=40), name="set")
    assert min(targets(splits.validation)) == 10_000
    assert len(splits.train) == 600


@pytest.mark.parametrize("share", [0.0, 1.0, 1e-9])
def test_a_share_that_empties_a_split_is_refused(share):
    with pytest.raises(DataError, match="empty"):
        carve(parts(), name="set", validation=share)


def test_too_few_examples_and_no_training_part_are_refused():
    with pytest.raises(DataError, match="empty"):
        carve(parts(train=1), name="set")
    with pytest.raises(DataError, match="no training part"):
        carve(Parts(test=Part(torch.zeros(3, 1), torch.zeros(3))), name="set")


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="length"):
        Part(torch.zeros(3, 1), torch.zeros(2))


def test_cut_keeps_at_most_so_many_of_each():
    splits = carve(parts(), name="set").cut(45)
    assert [len(item) for item in splits.as_task().values()] == [45, 45, 45, 45]
    assert len(set(targets(splits.test))) == 45
    with pytest.raises(DataError, match="at least one"):
        splits.cut(0)


def test_mapped_changes_every_split():
    splits = carve(parts(), name="set").mapped(lambda x: x + 0.5)
    for item in splits.as_task().values():
        batch = item.gather(torch.arange(3))
        assert (batch.inputs[0].flatten() - batch.target).tolist() == [0.5, 0.5, 0.5]


def test_describe_says_name_origin_and_counts():
    words = carve(parts(), name="set", calibration=30).describe()
    assert words == "set from here: 480 train (30 of them for calibration), 120 validation, 50 test"
    assert carve(parts(test=0), name="set").describe().endswith("no test part")


def test_splits_fit_a_task():
    task = Task(model=torch.nn.Linear(1, 1), example=torch.zeros(1, 1), **carve(parts(), name="set").as_task())
    assert len(task.examples("validation")) == 120


def test_bytes_are_normalised_batch_by_batch():
    images = torch.full((20, 4, 4), 255, dtype=torch.uint8)
    part = Part(images, torch.zeros(20, dtype=torch.int64))
    batch = carve(Parts(train=part, transform=Normalize((0.5,), (0.5,))), name="set").train.gather(torch.arange(2))
    assert batch.inputs[0].shape == (2, 1, 4, 4)
    assert batch.inputs[0].unique().tolist() == [1.0]
