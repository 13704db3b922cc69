from dataclasses import dataclass

import pytest
import torch
from torch import nn

from featherweight.techniques.representation.low_rank._choice import choose, fixed_cost
from featherweight.techniques.representation.low_rank._parts import Part, matrix_part


@dataclass
class Wish:
    keep: float = 0.5
    of: str = "macs"
    rank: int | None = None
    multiple: int = 1


def parts():
    generator = torch.Generator().manual_seed(0)
    return [matrix_part(torch.randn(20, 30, generator=generator), 50, 1) for _ in range(3)]


def cost(found, given):
    return sum(part.whole if ranks is None else part.cost(ranks) for part, ranks in zip(given, found, strict=True))


def test_the_budget_counts_what_is_fixed():
    given = parts()
    whole = sum(part.whole for part in given)
    for fixed in (0, 500):
        spent = cost(choose(Wish(keep=0.6), given, fixed), given) + fixed
        assert 0.6 * (whole + fixed) - 50 <= spent <= 0.6 * (whole + fixed)


def test_factors_that_cost_as_much_as_the_layer_are_not_taken():
    assert choose(Wish(rank=12), parts(), 0) == [None] * 3  # 12 * 50 = 20 * 30
    assert choose(Wish(rank=11), parts(), 0) == [(11,)] * 3


def test_ratios_and_multiples():
    assert choose(Wish(of="ratio", keep=0.33), parts(), 0) == [(7,)] * 3
    assert choose(Wish(of="ratio", keep=0.33, multiple=4), parts(), 0) == [(8,)] * 3


def test_parts_without_a_ladder_keep_the_same_share():
    given = [Part((10_000,), whole, lambda ranks, unit=unit: unit * ranks[0], None, lambda: (1,))
             for whole, unit in ((1e6, 900.0), (4e6, 500.0))]  # fmt: skip
    found = choose(Wish(keep=0.25), given, 0)
    shares = [part.cost(ranks) / part.whole for part, ranks in zip(given, found, strict=True)]
    assert shares == pytest.approx([0.25, 0.25], abs=0.002)
    assert cost(found, given) <= 0.25 * 5e6


def test_the_rest_of_the_network_is_fixed(lender):
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 7))
    part = [matrix_part(model[0].weight.detach(), 2 * 50, 2)]
    context = lender(model, torch.randn(2, 30))
    assert fixed_cost(model, context, part, "macs") == 2 * 20 * 7
    part = [matrix_part(model[0].weight.detach(), 50, 1)]
    assert fixed_cost(model, context, part, "parameters") == 20 * 7 + 27
