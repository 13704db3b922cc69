import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError
from featherweight.techniques.representation.low_rank.svd import Svd


def test_what_was_done_is_recorded(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2))
    context = lender(model, torch.randn(3, 40))
    Svd(rank=5, epochs=0).apply(model, context)
    assert context.details["ranks"] == {"0": [[5]]}
    gain = 40 * 30 / (5 * 70)
    assert context.details["gains"] == {"0": {"storage": pytest.approx(gain), "computation": pytest.approx(gain)}}
    assert list(context.details["whole"]) == ["2"]


def test_the_most_that_can_be_done_is_done_for_a_budget_out_of_reach(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 40))
    context = lender(model, torch.randn(3, 40))
    Svd(keep=0.001, epochs=0).apply(model, context)
    assert context.details["ranks"] == {"0": [[1]], "1": [[1]]}
    assert context.details["kept"] == pytest.approx(140 / 2400)


def test_what_is_kept_counts_the_rest_of_the_network(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 40))
    context = lender(model, torch.randn(3, 40))
    Svd(keep=0.7, layers=("0",), epochs=0).apply(model, context)
    assert context.details["kept"] == pytest.approx((6 * 70 + 1200) / 2400)  # one rank more would be .704


@pytest.mark.parametrize("learning_rate", [0.0, float("inf")])
def test_learning_rates_are_above_zero(learning_rate):
    with pytest.raises(ConfigError, match="learning_rate"):
        Svd(learning_rate=learning_rate)
