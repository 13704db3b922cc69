import pytest
import torch
from torch.nn import functional as F

from featherweight.errors import UsageError
from featherweight.numerics import factor


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_what_svd_loses_are_the_squares_behind_the_rank(shape):
    matrix = normal(*shape)
    values = torch.linalg.svdvals(matrix)
    last = float("inf")
    for rank in range(1, 13):
        left, right = factor.svd(matrix, rank)
        assert left.shape == (shape[0], rank) and right.shape == (rank, shape[1])
        lost = float((matrix - left @ right).square().sum())
        assert lost == pytest.approx(float(values[rank:].square().sum()), abs=1e-9)
        assert lost < last
        last = lost
    assert torch.allclose(left @ right, matrix, atol=1e-10)


def test_factors_are_balanced_and_keep_their_type():
    left, right = factor.svd(normal(8, 20).float(), 5)
    assert left.dtype == right.dtype == torch.float32
    assert torch.allclose(left.norm(dim=0), right.norm(dim=1), rtol=1e-5)  # S split evenly, not twice


@pytest.mark.parametrize("rank", [0, 9])
def test_a_rank_outside_the_matrix_is_refused(rank):
    with pytest.raises(UsageError, match=r"1\.\.min"):
        factor.svd(normal(8, 20), rank)
    with pytest.raises(UsageError, match=r"1\.\.min"):
        factor.weighted_svd(normal(8, 20), torch.eye(20), rank)


def test_the_data_distance_is_the_error_of_outputs_and_weighted_svd_the_least_of_its_rank():
    matrix, inputs = normal(10, 16), normal(500, 16, seed=1) @ normal(16, 16, seed=2) + 3  # a mean far from zero
    moment = inputs.T @ inputs / len(inputs)
    left, right = factor.weighted_svd(matrix, moment, 4, ridge=1e-12)
    change = matrix - left @ right
    outputs = float((inputs @ change.T).square().sum(1).mean())
    assert outputs == pytest.approx(float(torch.trace(change @ moment @ change.T)), rel=1e-9)
    values = torch.linalg.svdvals(matrix @ torch.linalg.cholesky(moment))
    assert outputs == pytest.approx(float(values[4:].square().sum()), rel=1e-6)
    plain_left, plain_right = factor.svd(matrix, 4)
    assert outputs < float((inputs @ (matrix - plain_left @ plain_right).T).square().sum(1).mean())


def test_with_plain_inputs_weighted_svd_is_svd():
    matrix = normal(10, 16)
    weighted, plain = factor.weighted_svd(matrix, torch.eye(16), 4, ridge=0.0), factor.svd(matrix, 4)
    assert torch.allclose(weighted[0] @ weighted[1], plain[0] @ plain[1], atol=1e-9)


def test_a_moment_of_another_size_is_refused():
    with pytest.raises(UsageError, match="square"):
        factor.weighted_svd(normal(10, 16), torch.eye(15), 4)


def test_kernels_that_are_separable_stay_and_others_lose_the_singular_values_behind_the_rank():
    rank_one = torch.einsum("rca,nrb->ncab", normal(2, 5, 3), normal(6, 2, 3, seed=1))
    columns, rows = factor.spatial(rank_one, 2)
    assert columns.shape == (2, 5, 3, 1) and rows.shape == (6, 2, 1, 3)
    images = normal(2, 5, 9, 8, seed=2)
    found = F.conv2d(F.conv2d(images, columns, padding=(1, 0)), rows, padding=(0, 1))
    assert torch.allclose(found, F.conv2d(images, rank_one, padding=1), atol=1e-9)
    kernel = normal(6, 5, 3, 3, seed=3)
    columns, rows = factor.spatial(kernel, 4)
    made = torch.einsum("rcak,nrkb->ncab", columns, rows)
    values = torch.linalg.svdvals(factor.of_spatial(kernel))
    assert float((kernel - made).norm()) == pytest.approx(float(values[4:].norm()), rel=1e-9)


def test_only_kernels_in_the_plane_are_separated():
    with pytest.raises(UsageError, match="height"):
        factor.spatial(normal(4, 4, 3), 2)
