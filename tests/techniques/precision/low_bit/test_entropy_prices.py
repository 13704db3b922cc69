import math

import pytest
import torch

from featherweight.techniques.precision.low_bit._entropy_prices import prices_of


def entropy(levels):
    counts = torch.unique(levels, return_counts=True)[1].double()
    return float(-(counts * (counts / counts.sum()).log2()).sum())


def test_without_structure_the_prices_are_near_the_entropy():
    draw = torch.rand(300, 200, generator=torch.Generator().manual_seed(0))
    levels = (draw < 0.1).float() - (draw < 0.05).float() * 2 + (draw < 0.01).float() * -1
    prices = prices_of(levels)
    assert float(prices.of(levels) - prices.learning) == pytest.approx(entropy(levels), rel=0.03)
    assert 0 < float(prices.learning) < 0.1 * entropy(levels)


@pytest.mark.parametrize("shape", [(60, 80), (20, 10, 3, 3), (20, 10, 5)])
def test_what_lies_in_few_rows_and_columns_costs_less(shape):
    draw = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    gathered = torch.zeros(shape)
    gathered[: shape[0] // 4, : shape[1] // 4] = 1.0
    gathered = gathered * (draw < 0.8)
    order = torch.randperm(gathered.numel(), generator=torch.Generator().manual_seed(2))
    scattered = gathered.flatten()[order].view(shape)
    assert prices_of(gathered).of(gathered) < 0.6 * prices_of(scattered).of(scattered)


def test_a_weight_in_an_empty_row_is_dearer_and_a_tensor_of_zeros_nearly_free():
    levels = torch.zeros(20, 30)
    levels[:10, ::3] = 1
    prices = prices_of(levels)
    assert float(prices.one[15, 0]) > float(prices.one[5, 0]) + 2
    assert float(prices.zero[15, 1]) < 0.01 < float(prices.zero[5, 0])
    nothing = torch.zeros(100, 100)
    assert float(prices_of(nothing).of(nothing)) < 16


def test_larger_levels_cost_more_and_the_sum_is_over_all_weights():
    levels = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, -1.0]])
    prices = prices_of(levels)
    assert float(prices.more) > 0
    by_hand = sum(
        float(prices.zero[i, j]) if k == 0 else float(prices.one[i, j] + (abs(k) - 1) * prices.more)
        for i, row in enumerate(levels.tolist())
        for j, k in enumerate(row)
    )
    learning = 0.5 * (3 * math.log2(3) + 2)  # rows of two and two weights, columns of one, one and two
    assert float(prices.of(levels)) == pytest.approx(by_hand + learning, rel=1e-6)


@pytest.mark.parametrize("levels", [torch.tensor(3.0), torch.ones(7), torch.zeros(2, 0), torch.full((4, 4), -9.0)])
def test_prices_are_finite_for_odd_tensors(levels):
    prices = prices_of(levels)
    assert prices.zero.shape == prices.one.shape == levels.shape
    assert torch.isfinite(prices.of(levels))
    assert bool((prices.zero >= 0).all()) and float(prices.more) >= 0
