import pytest
import torch

from featherweight.numerics.factor import energy_product, matrix_ladder, rank_of_energy, tucker_ladder


def falling(count, power=1.0):
    return torch.arange(1, count + 1).double().pow(-power)


def test_a_ladder_goes_from_full_rank_down():
    ladder = matrix_ladder(torch.tensor([3.0, 2.0, 1.0]), unit=10, whole=25)
    assert ladder.ranks == ((3,), (2,), (1,))
    assert ladder.energy == pytest.approx((1, 5 / 6, 0.5))
    assert ladder.cost == (30, 20, 10)
    assert [ladder.pays(rung) for rung in range(3)] == [False, True, True]
    assert ladder.cheapest(0) == 25


@pytest.mark.parametrize(("count", "ranks"), [(20, [20, 16, 8]), (16, [16, 8]), (5, [5])])
def test_ranks_are_multiples_or_full(count, ranks):
    assert [rank for (rank,) in matrix_ladder(falling(count), 1, 100, multiple=8).ranks] == ranks


def test_the_budget_is_met_as_nearly_as_ranks_allow():
    ladders = [matrix_ladder(falling(count, power), 2 * count, count * count) for count, power in ((40, 2), (60, 1))]
    whole = sum(ladder.whole for ladder in ladders)
    for share in (0.2, 0.5, 0.8):
        rungs = energy_product(ladders, share * whole)
        cost = sum(ladder.cheapest(rung) for ladder, rung in zip(ladders, rungs, strict=True))
        assert share * whole - 2 * 60 <= cost <= share * whole


def test_what_was_saved_too_much_is_given_back():
    large, small = matrix_ladder(falling(64, 0.1), 100, 4000, multiple=32), matrix_ladder(falling(40, 3), 1, 40)
    rungs = energy_product([large, small], 3700)
    cost = large.cheapest(rungs[0]) + small.cheapest(rungs[1])
    assert 3200 + 30 < cost <= 3700  # the large layer's step saved enough for all of the small one
    assert small.cheapest(rungs[1]) == 40


def test_equal_layers_lose_equally():
    ladders = [matrix_ladder(falling(30), 30, 900)] * 3
    rungs = energy_product(ladders, 0.4 * 2700)
    assert max(rungs) - min(rungs) <= 1


def test_dear_ranks_go_first():
    dear, cheap = matrix_ladder(falling(30), 100, 3000), matrix_ladder(falling(30), 10, 300)
    rungs = energy_product([dear, cheap], 1800)
    assert rungs[0] > rungs[1]


def test_the_product_of_energies_is_what_no_exchange_improves():
    ladders = [matrix_ladder(falling(12, power), 1, 100) for power in (0.5, 1, 2)]
    rungs = energy_product(ladders, 18)
    best = max(
        ladders[0].energy[12 - a] * ladders[1].energy[12 - b] * ladders[2].energy[12 - c]
        for a in range(1, 13)
        for b in range(1, 13)
        for c in range(1, 13)
        if a + b + c <= 18
    )
    found = 1.0
    for ladder, rung in zip(ladders, rungs, strict=True):
        found *= ladder.energy[rung]
    assert found == pytest.approx(best)


def test_a_budget_that_cannot_be_met_gives_the_last_rungs():
    ladder = matrix_ladder(falling(4), 1, 10)
    assert energy_product([ladder], 0.1) == [3]


def test_two_ranks_make_one_ladder():
    ladder = tucker_ladder((falling(8), falling(4)), (1, 1, 9), whole=288)
    assert ladder.ranks[0] == (8, 4) and ladder.ranks[-1] == (1, 1)
    assert list(ladder.cost) == sorted(ladder.cost, reverse=True)
    assert list(ladder.energy) == sorted(ladder.energy, reverse=True)
    assert ladder.cost[0] == 8 + 4 + 9 * 32
    assert all(
        rank % 4 == 0 for pair in tucker_ladder((falling(8), falling(4)), (1, 1, 9), 1, 4).ranks for rank in pair
    )


def test_no_more_ranks_inside_than_the_outside_can_hold():
    ladder = tucker_ladder((falling(20, 3), falling(40, 0.1)), (1, 1, 1), whole=1000, most=3)
    assert all(inner <= 3 * outer for outer, inner in ladder.ranks)
    assert list(ladder.cost) == sorted(ladder.cost, reverse=True)
    assert ladder.ranks[-1] == (1, 1)


def test_energy_names_the_smallest_rank():
    energies = torch.tensor([6.0, 3.0, 1.0])
    assert [rank_of_energy(energies, share) for share in (0.1, 0.6, 0.61, 0.9, 1.0)] == [1, 1, 2, 2, 3]
    assert rank_of_energy(torch.zeros(3), 0.5) == 1
