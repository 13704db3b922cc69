import pytest
import torch
from torch import nn

from featherweight.techniques.representation.low_rank import _recurrent


def test_the_matrices_of_every_layer_and_direction():
    rnn = nn.LSTM(6, 5, 2, bidirectional=True)
    apart = _recurrent.parts(rnn, (7, 3, 6), "macs", shared=False)
    assert [part.whole for part in apart] == [7 * 3 * size for size in (20 * 6, 20 * 5) * 2 + (20 * 10, 20 * 5) * 2]
    shared = _recurrent.parts(rnn, (7, 3, 6), "parameters", shared=True)
    assert [part.whole for part in shared] == [20 * 11, 20 * 11, 20 * 15, 20 * 15]
    assert [part.cost((2,)) for part in shared] == [2 * (20 + 11)] * 2 + [2 * (20 + 15)] * 2
    assert _recurrent.parts(nn.LSTM(6, 5, proj_size=2), (7, 3, 6), "macs", shared=False) == []


@pytest.mark.parametrize("shared", [True, False])
def test_factors_are_the_nearest_and_whole_places_stay(shared):
    torch.manual_seed(0)
    rnn = nn.LSTM(6, 5, 2)
    ranks = [(3,), None] if shared else [(3,), None, None, (2,)]
    made = _recurrent.build(rnn, ranks, shared=shared)
    if shared:
        matrix = torch.cat([rnn.weight_ih_l0, rnn.weight_hh_l0], dim=1).detach()
        product = made.left_l0 @ torch.cat([made.right_ih_l0, made.right_hh_l0], dim=1)
        assert torch.equal(made.weight_ih_l1, rnn.weight_ih_l1) and torch.equal(made.weight_hh_l1, rnn.weight_hh_l1)
    else:
        matrix, product = rnn.weight_ih_l0.detach(), made.left_ih_l0 @ made.right_ih_l0
        assert torch.equal(made.weight_hh_l0, rnn.weight_hh_l0) and made.right_hh_l1.shape == (2, 5)
    values = torch.linalg.svdvals(matrix)
    assert float((matrix - product).detach().square().sum()) == pytest.approx(
        float(values[3:].square().sum()), rel=1e-4
    )
    assert torch.equal(made.bias_hh_l1, rnn.bias_hh_l1)


def test_what_is_frozen_stays_frozen():
    rnn = nn.GRU(4, 4).requires_grad_(False).eval()
    rnn.bias_ih_l0.requires_grad_(True)
    made = _recurrent.build(rnn, [(2,), (2,)], shared=False)
    assert not made.left_ih_l0.requires_grad and made.bias_ih_l0.requires_grad and not made.training
