from itertools import combinations

import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.collaborative import least_loss, loss_change, quadratic


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_of_all(s, u, count):
    return min(loss_change(s, u, torch.tensor(c)) for c in combinations(range(len(u)), count))


def test_the_quadratic_is_the_one_of_the_paper():
    a = drawn(50, 4)
    s, u = quadratic(a)
    r = torch.tensor([1.0, 0, 1, 0]).double()
    assert torch.allclose(s, sum(torch.outer(row, row) for row in a) / 50)
    assert loss_change(s, u, torch.tensor([0, 2])) == pytest.approx(float(r @ s @ r / 2 - u @ r))
    assert float(torch.linalg.eigvalsh(s).min()) > -1e-12


@pytest.mark.parametrize("channels", [6, 9, 12])
def test_it_is_within_a_hundredth_of_the_best_subset(channels):
    """Catalogue, entry 14, check (i)."""
    for seed in range(15):
        a = drawn(40, channels, seed=seed) + drawn(40, 2, seed=seed + 99) @ drawn(2, channels, seed=seed + 999)
        s, u = quadratic(a + 0.2)
        for count in (2, channels // 2, channels - 2):
            best = best_of_all(s, u, count)
            found = loss_change(s, u, least_loss(s, u, count))
            assert found <= best + 0.01 * abs(best), (seed, count)


def test_channels_that_cancel_out_are_removed_together_though_each_looks_important():
    """Check (ii): scores one by one keep both."""
    a = drawn(100, 6)
    a[:, 1] = 5 * a[:, 1]
    a[:, 4] = -a[:, 1]
    s, u = quadratic(a)
    assert least_loss(s, u, 2).tolist() == [1, 4]
    assert set(s.diagonal().argsort()[:2].tolist()).isdisjoint({1, 4})
    one = least_loss(s, u, 1).tolist()
    assert one not in ([1], [4])
    for count in (3, 4, 5):
        assert len({1, 4} & set(least_loss(s, u, count).tolist())) == 2


def test_without_interactions_it_is_the_order_of_squared_taylor_scores():
    """Check (iii)."""
    s, _ = quadratic(drawn(50, 8) * torch.arange(1, 9))
    scores = s.diagonal()
    chosen = least_loss(torch.diag_embed(scores), torch.zeros(8), 3)
    assert chosen.tolist() == sorted(scores.argsort()[:3].tolist())


def test_influences_tell_how_the_loss_changes():
    """To first order, so exactly where the loss is linear in the weights: removing w_i changes it by -u_i."""
    weights, slopes = drawn(4, 3).requires_grad_(), drawn(20, 4, 3, seed=1)
    losses = (slopes * weights).sum(dim=(1, 2))
    gradients = torch.stack([torch.autograd.grad(loss, weights, retain_graph=True)[0] for loss in losses])
    _, u = quadratic((gradients * weights.detach()).sum(2))
    for channel in range(4):
        without = weights.detach().clone()
        without[channel] = 0
        change = float(((slopes * without).sum(dim=(1, 2)) - losses.detach()).mean())
        assert loss_change(torch.zeros(4, 4), u, torch.tensor([channel])) == pytest.approx(change)


def test_the_gradient_counts_with_its_sign():
    """Where the loss falls when a channel goes (its mean influence is positive), the channel goes."""
    u = torch.tensor([0.0, 3.0, -3.0, 1.0])
    assert least_loss(torch.eye(4), u, 2).tolist() == [1, 3]
    assert least_loss(torch.zeros(4, 4), u, 2).tolist() == [1, 3]


def test_counts_and_shapes_that_cannot_be_are_refused():
    s, u = quadratic(drawn(10, 4))
    assert least_loss(s, u, 0).tolist() == []
    assert least_loss(s, u, 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="0 to 4"):
        least_loss(s, u, 5)
    with pytest.raises(UsageError, match="square"):
        least_loss(s[:3], u, 2)
    with pytest.raises(UsageError, match="at least one"):
        quadratic(torch.zeros(0, 4))
