import pytest
import torch

from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.report.weights import BINS, centroids, histogram


def shared(values, indices):
    return Codebook(torch.tensor(indices), Dense(torch.tensor(values), torch.float32))


def test_every_weight_that_is_not_zero_is_counted_once():
    weight = torch.randn(40, 50, generator=torch.Generator().manual_seed(1))
    weight[weight.abs() < 0.3] = 0
    shown = histogram("fc", weight)
    assert sum(shown.counts) == int(torch.count_nonzero(weight))
    assert shown.zeros == weight.numel() - sum(shown.counts)
    assert len(shown.counts) == BINS
    assert shown.high == -shown.low == pytest.approx(float(weight.abs().max()))


def test_the_range_is_symmetric_and_each_weight_lies_in_its_bin():
    shown = histogram("fc", torch.tensor([-1.0, -1.0, 0.5, 1.0]))
    assert (shown.counts[0], shown.counts[-1], sum(shown.counts)) == (2, 1, 4)
    assert shown.counts[round(0.75 * BINS)] + shown.counts[round(0.75 * BINS) - 1] == 1


@pytest.mark.parametrize("weight", [torch.zeros(4), torch.zeros(0), torch.tensor([float("nan"), float("inf")])])
def test_nothing_to_count(weight):
    shown = histogram("none", weight)
    assert sum(shown.counts) == 0
    assert shown.low < shown.high


def test_centroids_come_with_their_members_in_order():
    assert centroids(shared([0.5, -0.25, 2.0], [0, 1, 1, 0, 1])) == ((-0.25, 3), (0.5, 2), (2.0, 0))


def test_centroids_of_the_survivors_of_a_sparse_tensor():
    mask = torch.tensor([[True, False], [False, True]])
    assert centroids(Sparse(mask, shared([1.0, 3.0], [1, 1]))) == ((1.0, 0), (3.0, 2))


def test_a_dense_tensor_shares_nothing():
    assert centroids(Dense(torch.ones(3), torch.float32)) == ()


def test_a_centroid_beyond_all_weights_is_in_the_picture():
    shown = histogram("fc", torch.tensor([0.5, -0.5]), shared([0.5, -4.0], [0, 0]))
    assert (shown.low, shown.high) == (-4.0, 4.0)
