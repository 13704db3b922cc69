from itertools import combinations

import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.greedy import backward, forward, least_sum, median_distances, scales
from featherweight.numerics.least_squares import Moments, columns_of, solve


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_greedy(a, count):
    """F6 of the catalogue, on the data."""
    total, gone = torch.zeros(len(a), dtype=torch.float64), []
    for _ in range(count):
        scores = 2 * (total @ a) + (a * a).sum(0)
        scores[gone] = torch.inf
        gone.append(int(scores.argmin()))
        total = total + a[:, gone[-1]]
    return gone


class TestLeastSum:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_thinets_greedy(self, seed):
        a = drawn(60, 9, seed=seed) + drawn(60, 1, seed=seed + 50) @ drawn(1, 9, seed=seed + 60)
        assert least_sum(a.T @ a, 6).tolist() == literal_greedy(a, 6)

    def test_it_is_near_the_optimum_and_on_it_when_channels_are_orthogonal(self):
        """Catalogue, entry 7, check (i)."""
        near = 0
        for seed in range(20):
            a = drawn(40, 10, seed=seed)
            best = min(float(a[:, list(c)].sum(1).square().sum()) for c in combinations(range(10), 5))
            near += float(a[:, least_sum(a.T @ a, 5)].sum(1).square().sum()) <= 1.5 * best
        assert near >= 12
        basis = torch.linalg.qr(drawn(20, 8)).Q * torch.tensor([5.0, 1, 4, 2, 8, 3, 7, 6])
        assert least_sum(basis.T @ basis, 4).tolist() == [1, 3, 5, 2]

    def test_silent_channels_go_first(self):
        """Check (ii)."""
        a = drawn(30, 6)
        a[:, [2, 4]] = 0
        assert least_sum(a.T @ a, 3)[:2].tolist() == [2, 4]

    def test_channels_that_cancel_out_go_together(self):
        """Check (iii)."""
        a = drawn(30, 6)
        a[:, 3] = 0.1 * a[:, 3]
        a[:, 1] = -a[:, 3]
        order = least_sum(a.T @ a, 4).tolist()
        assert order[:2] in ([1, 3], [3, 1])

    def test_counts_that_cannot_be_are_refused(self):
        assert least_sum(torch.eye(3), 0).tolist() == []
        assert sorted(least_sum(torch.eye(3), 3).tolist()) == [0, 1, 2]
        with pytest.raises(UsageError, match="0 to 3"):
            least_sum(torch.eye(3), 4)
        with pytest.raises(UsageError, match="square"):
            least_sum(torch.ones(3, 2), 1)


def test_scales_are_least_squares_and_never_make_it_worse():
    """Catalogue, entry 7, check (iv)."""
    for seed in range(5):
        a = drawn(50, 8, seed=seed)
        kept = torch.tensor([0, 2, 3, 7])
        factors = scales(a.T @ a, kept, ridge=0.0)
        target = a.sum(1)
        assert torch.allclose(factors, torch.linalg.lstsq(a[:, kept], target[:, None]).solution[:, 0])
        assert (target - a[:, kept] @ factors).norm() <= (target - a[:, kept].sum(1)).norm()
    other = drawn(50, seed=9)
    factors = scales(a.T @ a, kept, correlation=a.T @ other, ridge=0.0)
    assert torch.allclose(factors, torch.linalg.lstsq(a[:, kept], other[:, None]).solution[:, 0])


def data(channels=7, spread=3, seed=0):
    """Channels that partly follow from each other, and outputs with an offset."""
    mixed = drawn(300, 6, seed=seed) @ drawn(6, channels * spread, seed=seed + 1)
    x = mixed + 0.5 * drawn(300, channels * spread, seed=seed + 2) + 3
    return Moments.of(x, x @ drawn(channels * spread, 4, seed=seed + 3) + drawn(300, 4, seed=seed + 4) + 5)


def error(moments, channels, spread, intercept=True):
    columns = columns_of(channels, spread)
    return float(solve(moments, columns, ridge=1e-12, intercept=intercept).error.sum())


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("seed", [0, 10, 20])
def test_forward_takes_the_best_next_channel(seed, intercept):
    moments = data(seed=seed)
    order = forward(moments, 7, 3, intercept=intercept).tolist()
    chosen = []
    for channel in order[:-1]:
        errors = {c: error(moments, [*chosen, c], 3, intercept) for c in range(7) if c not in chosen}
        assert errors[channel] <= min(errors.values()) * (1 + 1e-6)
        chosen.append(channel)
    assert sorted(order) == list(range(7))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("seed", [0, 10, 20])
def test_backward_removes_the_channel_that_costs_least_and_knows_what_it_costs(seed, intercept):
    moments = data(seed=seed)
    order, costs = backward(moments, 6, 3, ridge=1e-12, intercept=intercept)
    left, before = list(range(7)), error(moments, range(7), 3, intercept)
    for channel, cost in zip(order.tolist(), costs.tolist(), strict=True):
        errors = {c: error(moments, [k for k in left if k != c], 3, intercept) for c in left}
        assert errors[channel] <= min(errors.values()) * (1 + 1e-6)
        assert cost == pytest.approx(errors[channel] - before, rel=1e-5)
        left.remove(channel)
        before = errors[channel]


def test_the_channels_that_made_the_output_are_found_both_ways():
    x = drawn(200, 8 * 4)
    moments = Moments.of(x, x[:, columns_of([1, 4, 6], 4)] @ drawn(12, 5, seed=1))
    assert sorted(forward(moments, 3, 4).tolist()) == [1, 4, 6]
    order, costs = backward(moments, 5, 4)
    assert sorted(order.tolist()) == [0, 2, 3, 5, 7]
    assert float(costs.sum()) < 1e-6 * moments.energy(intercept=True)


def test_of_copies_and_silent_channels_none_is_kept_twice():
    """Rank is lost here: what explains nothing must neither be divided by nor be taken for a gain."""
    x = drawn(200, 6 * 2)
    x[:, 4:6], x[:, 8:10] = x[:, 0:2], 0.0  # channel 2 is channel 0, channel 4 is silent
    moments = Moments.of(x, x @ drawn(12, 3, seed=1))
    assert set(forward(moments, 4, 2).tolist()) in ({0, 1, 3, 5}, {2, 1, 3, 5})
    order, costs = backward(moments, 2, 2)
    assert set(order.tolist()) in ({0, 4}, {2, 4})
    assert float(costs.sum()) < 1e-6 * moments.energy(intercept=True)
    with pytest.raises(UsageError, match="4 of 12 columns follow"):
        backward(moments, 2, 2, ridge=0.0)


def test_spreads_and_counts_that_do_not_fit_are_refused():
    moments = data()
    for function in (forward, backward):
        with pytest.raises(UsageError, match="divide"):
            function(moments, 2, 4)
        with pytest.raises(UsageError, match="0 to 7"):
            function(moments, 8, 3)


def test_moments_are_left_as_they_were():
    moments = data()
    xx, xy = moments.xx.clone(), moments.xy.clone()
    forward(moments, 3, 3)
    backward(moments, 3, 3)
    assert torch.equal(moments.xx, xx)
    assert torch.equal(moments.xy, xy)


def test_the_geometric_median_is_in_the_middle():
    """Norms would call the two far filters important and the small one dispensable."""
    filters = torch.tensor([[5.0, 5], [5.1, 5], [5, 5.1], [-5, 9], [0.1, 0], [20, -3]]).view(6, 2, 1)
    distances = median_distances(filters)
    assert int(distances.argmin()) in (0, 1, 2)
    assert float(distances[0]) == pytest.approx(sum(float((filters[0] - other).norm()) for other in filters), rel=1e-6)
    copies = median_distances(drawn(1, 200).expand(30, 200) * 1e4)
    assert float(copies.max()) == 0.0  # a product of matrices leaves some 1e-3 here
