import itertools

import kmeans1d
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featherweight.errors import EncodingError, UsageError
from featherweight.numerics.clustering import Clusters, index_dtype, kmeans, nearest

STARTS = ["linear", "density", "random"]


def gaussian(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def heavy_tailed(count: int = 20_000) -> torch.Tensor:
    """Two humps, as pruned weights have, and a few large values."""
    body = gaussian(count) * 0.05 + torch.where(torch.arange(count) % 2 == 0, 0.1, -0.1)
    return torch.cat([body, torch.tensor([1.0, -0.9, 0.8])])


def rebuilt(found: Clusters) -> torch.Tensor:
    return found.centroids[found.indices.long()]


def error(values: torch.Tensor, found: Clusters) -> float:
    return float((values.double() - rebuilt(found)).square().sum())


def lloyd_by_hand(values: torch.Tensor, centroids: torch.Tensor, rounds: int) -> torch.Tensor:
    """The slow, obvious reference: every distance, every mean."""
    for _ in range(rounds):
        owner = (values[:, None] - centroids[None]).abs().argmin(1)
        centroids = torch.stack([values[owner == index].mean() for index in range(len(centroids))])
    return centroids


@pytest.mark.parametrize("start", STARTS)
def test_a_fixed_point_of_lloyd(start):
    values = gaussian(5_000)
    found = kmeans(values, 16, start=start, generator=torch.Generator().manual_seed(1))
    distance = (values.double()[:, None] - found.centroids[None]).abs()
    chosen = distance.gather(1, found.indices.long()[:, None])[:, 0]
    assert torch.allclose(chosen, distance.min(1).values)
    for index, centroid in enumerate(found.centroids):
        assert float(values[found.indices == index].double().mean()) == pytest.approx(float(centroid), abs=1e-12)


def test_equals_the_slow_reference():
    values = gaussian(3_000, dtype=torch.float64)
    found = kmeans(values, 8, start="linear")
    by_hand = lloyd_by_hand(values, torch.linspace(float(values.min()), float(values.max()), 8).double(), 300)
    assert torch.allclose(found.centroids, by_hand, atol=1e-9)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("clusters", [1, 2, 7, 64])
def test_the_error_never_rises_and_is_the_real_one(start, clusters):
    values = heavy_tailed()
    found = kmeans(values, clusters, start=start)
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(found.history))
    assert found.error == found.history[-1] == pytest.approx(error(values, found), rel=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(STARTS),
    st.booleans(),
)
def test_any_values(numbers, clusters, start, exact):
    values = torch.tensor(numbers, dtype=torch.float32)
    found = kmeans(values, clusters, start=start, exact=exact)
    assert 1 <= len(found.centroids) <= clusters
    assert (found.centroids.diff() > 0).all()
    assert sorted(set(found.indices.tolist())) == list(range(len(found.centroids)))
    distance = (values.double()[:, None] - found.centroids[None]).abs().min(1).values
    assert torch.allclose((values.double() - rebuilt(found)).abs(), distance)


@pytest.mark.parametrize(("count", "clusters"), [(40, 39), (500, 32), (1_000, 100), (2_000, 7), (3_000, 1), (9, 2)])
def test_exact_equals_an_independent_solver(count, clusters):
    values = gaussian(count, seed=count, dtype=torch.float64) ** 3
    owners, centroids = kmeans1d.cluster(values.tolist(), clusters)
    best = sum((value - centroids[owner]) ** 2 for value, owner in zip(values.tolist(), owners, strict=True))
    found = kmeans(values, clusters, exact=True)
    assert error(values, found) == pytest.approx(best, rel=1e-9, abs=1e-12)
    for start in STARTS:
        assert kmeans(values, clusters, start=start).error >= best * (1 - 1e-9)


def test_exact_on_a_histogram_is_close_to_the_optimum():
    values = heavy_tailed(20_000)  # more distinct values than the search takes
    _, centroids = kmeans1d.cluster(values.tolist(), 16)
    best = float((values[:, None] - torch.tensor(centroids)[None]).abs().min(1).values.double().square().sum())
    assert error(values, kmeans(values, 16, exact=True)) <= best * 1.001


def test_linear_start_is_near_the_optimum_for_gaussian_weights():
    values = gaussian(20_000)
    assert kmeans(values, 8, start="linear").error <= kmeans(values, 8, exact=True).error * 1.05


def test_linear_start_keeps_the_rare_large_weights():
    values = heavy_tailed()
    largest = {
        start: float(kmeans(values, 16, start=start).centroids.abs().max() / values.abs().max()) for start in STARTS
    }
    assert largest["linear"] == pytest.approx(1.0, abs=0.02)
    assert largest["density"] < 0.8
    assert largest["random"] < 0.8


def test_as_many_clusters_as_values_leave_no_error():
    values = torch.tensor([[0.5, -1.0, 0.5], [2.0, 0.0, -1.0]])
    for clusters in (4, 5, 1000):
        found = kmeans(values, clusters)
        assert found.centroids.tolist() == [-1.0, 0.0, 0.5, 2.0]
        assert torch.equal(rebuilt(found), values.double())
        assert found.error == 0.0


def test_one_distinct_value_and_no_values():
    same = kmeans(torch.full((3, 3), 0.25), 8)
    assert same.centroids.tolist() == [0.25]
    assert same.indices.shape == (3, 3)
    nothing = kmeans(torch.zeros(0, 4), 8)
    assert nothing.centroids.shape == (0,)
    assert nothing.indices.shape == (0, 4)


def test_empty_clusters_are_put_to_work():
    values = torch.cat([gaussian(1_000) * 1e-3, torch.tensor([100.0])])  # a linear start leaves all but two empty
    found = kmeans(values, 8)
    assert len(found.centroids) == 8
    assert found.error < 0.1 * kmeans(values, 2).error


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_must_be_finite(bad):
    with pytest.raises(EncodingError, match="not finite"):
        kmeans(torch.tensor([0.0, bad, 1.0]), 2)


def test_at_least_one_cluster():
    with pytest.raises(UsageError, match="at least one"):
        kmeans(torch.ones(3), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type(dtype):
    values = gaussian(1_000).to(dtype)
    found = kmeans(values, 8)
    assert found.centroids.dtype == torch.float64
    assert error(values, found) == pytest.approx(found.error, rel=1e-6)


def test_same_generator_same_clusters():
    values = gaussian(1_000)
    runs = [kmeans(values, 9, start="random", generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(runs[0].centroids, runs[1].centroids)
    assert runs[0].history[0] != runs[2].history[0]


@pytest.mark.parametrize(("count", "dtype"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)])
def test_indices_are_as_narrow_as_can_be(count, dtype):
    assert index_dtype(count) == dtype
    centroids = torch.arange(count, dtype=torch.float64)
    indices = nearest(torch.tensor([0.0, count - 1.0]), centroids)
    assert indices.dtype == dtype
    assert indices.tolist() == [0, count - 1]


def test_nearest_breaks_ties_downwards_and_is_exact_in_float32():
    third = torch.tensor([0.0, 1 / 3], dtype=torch.float64)  # their middle is no float32
    below = torch.tensor(1 / 6, dtype=torch.float32)
    values = torch.stack([below, torch.nextafter(below, torch.tensor(1.0))])
    expected = (values.double() > 1 / 6).tolist()
    assert nearest(values, third).bool().tolist() == expected
    assert nearest(torch.tensor([0.5, -1.0, 9.0]), torch.tensor([0.0, 1.0])).tolist() == [0, 0, 1]
