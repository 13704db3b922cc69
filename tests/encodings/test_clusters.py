import pytest
import torch

from featherweight.encodings import _clusters
from featherweight.encodings._clusters import Clusters


@pytest.fixture(params=[1 << 20, 7])
def clusters(request, monkeypatch):
    """50 weights in 6 clusters, the last one empty; in one chunk and in many."""
    monkeypatch.setattr(_clusters, "_CHUNK", request.param)
    return Clusters(torch.randint(0, 5, (5, 10), dtype=torch.uint8), 6)


def test_sizes_and_firsts(clusters):
    flat = clusters.indices.reshape(-1).tolist()
    assert clusters.sizes.tolist() == [flat.count(k) for k in range(6)]
    assert clusters.firsts.tolist() == [flat.index(k) if k in flat else 0 for k in range(6)]


def test_sums_and_means(clusters):
    weight = torch.randn(5, 10)
    members = [weight[clusters.indices == k] for k in range(6)]
    assert torch.allclose(clusters.sums(weight), torch.stack([item.double().sum() for item in members]))
    expected = torch.stack([item.mean() if len(item) else torch.tensor(0.0) for item in members])
    assert torch.allclose(clusters.means(weight), expected)
    assert clusters.means(weight).dtype == weight.dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_mean_of_equal_weights_is_that_weight(clusters, dtype):
    values = (torch.randn(6, dtype=torch.float64) / 3).to(dtype)
    shared = clusters.spread(values)
    assert torch.equal(clusters.means(shared)[:5], values[:5])


def test_spread_is_differentiable(clusters):
    values = torch.randn(6, requires_grad=True)
    upstream = torch.randn(5, 10)
    clusters.spread(values).backward(upstream)
    assert torch.allclose(values.grad.double(), clusters.sums(upstream), atol=1e-5)
    with torch.no_grad():
        assert torch.equal(clusters.spread(values), values[clusters.indices.long()])


def test_no_weights():
    empty = Clusters(torch.zeros(0, 3, dtype=torch.uint8), 2)
    assert empty.sizes.tolist() == empty.firsts.tolist() == [0, 0]
    assert empty.means(torch.zeros(0, 3)).tolist() == [0, 0]
    assert empty.spread(torch.ones(2)).shape == (0, 3)
