import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.masks import count_largest, keep_above_std, keep_largest, lamp_scores


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 17, 119, 120])
def test_keeps_exactly_the_largest(count, dtype):
    scores = normal(4, 5, 6, dtype=torch.float64).to(dtype)
    mask = keep_largest(scores, count)
    assert mask.shape == scores.shape
    assert int(mask.sum()) == count
    if 0 < count < 120:
        assert scores[mask].min() >= scores[~mask].max()


def test_of_equal_scores_the_first_is_kept():
    scores = torch.tensor([[1.0, 2.0, 1.0], [1.0, 3.0, 1.0]])
    assert keep_largest(scores, 4).tolist() == [[True, True, True], [False, True, False]]


def counts(parts, count):
    return count_largest([lambda part=part: part for part in parts], [part.numel() for part in parts], count)


@pytest.mark.parametrize("count", [0, 1, 20, 74, 75])
def test_counting_over_tensors_equals_sorting_everything(count):
    parts = [normal(7, 3, seed=1), normal(50, seed=2) * 3, normal(2, 2, seed=3)]
    owner = torch.cat([torch.full((part.numel(),), index) for index, part in enumerate(parts)])
    joined = torch.cat([part.flatten() for part in parts])
    best = owner[torch.argsort(joined, descending=True)[:count]]
    assert counts(parts, count) == torch.bincount(best, minlength=3).tolist()


def test_of_equal_scores_the_earlier_tensor_keeps_more():
    assert counts([torch.ones(2), torch.ones(3)], 3) == [2, 1]
    assert counts([torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0, 1.0])], 3) == [1, 2]
    with pytest.raises(UsageError, match="0 to 5"):
        counts([torch.ones(2), torch.ones(3)], 6)


def test_does_not_change_the_scores():
    scores = normal(100)
    before = scores.clone()
    keep_largest(scores, 30)
    assert torch.equal(scores, before)


def test_pruned_places_come_last():
    scores = torch.tensor([-torch.inf, 0.0, -torch.inf, 5.0])
    assert keep_largest(scores, 2).tolist() == [False, True, False, True]


@pytest.mark.parametrize("count", [-1, 4])
def test_count_must_fit(count):
    with pytest.raises(UsageError, match="0 to 3"):
        keep_largest(torch.ones(3), count)


def test_threshold_uses_the_deviation_of_survivors():
    weight = torch.cat([torch.zeros(1000), torch.tensor([1.0, -1.0, 3.0, -3.0])])
    survivors = weight != 0
    kept = keep_above_std(weight, survivors, 1.0)  # deviation sqrt(5) = 2.24; over all weights it would be 0.14
    assert weight[kept].tolist() == [3.0, -3.0]
    assert torch.equal(keep_above_std(weight, survivors, 0.0), survivors)


def test_threshold_never_gives_back():
    weight, mask = normal(200), normal(200, seed=1) > 0
    assert not (keep_above_std(weight, mask, 0.5) & ~mask).any()
    assert not keep_above_std(weight, torch.zeros(200, dtype=torch.bool), 0.5).any()


def test_lamp_scores_by_hand():
    weight = torch.tensor([[3.0, -1.0], [2.0, 0.0]])
    expected = torch.tensor([0.0, 1 / 14, 4 / 13, 9 / 9])
    assert torch.allclose(lamp_scores(weight), expected)


def test_lamp_does_not_see_the_scale():
    weight = normal(30, 4)
    scores = lamp_scores(weight)
    assert torch.allclose(scores, lamp_scores(weight * 1000), rtol=1e-5)
    assert (scores.diff() >= 0).all()
    assert torch.equal(lamp_scores(torch.zeros(3)), torch.zeros(3))
