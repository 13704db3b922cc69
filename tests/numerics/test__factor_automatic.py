import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.factor import evbmf


def planted(rank, noise, shape=(64, 576), seed=0):
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.randn(*sizes, generator=generator, dtype=torch.float64) for sizes in ((shape[0], rank), (rank, shape[1]))
    )
    return 0.5 * left @ right + noise * torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("rank", [5, 12])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_ranks_and_noise_are_found(rank, seed):
    found, variance = evbmf(planted(rank, 1.0, seed=seed))
    assert found == rank
    assert variance == pytest.approx(1.0, rel=0.05)


def test_noise_is_no_rank_and_strong_noise_hides_some():
    assert evbmf(torch.randn(64, 576, generator=torch.Generator().manual_seed(0)))[0] == 0
    found, variance = evbmf(planted(12, 3.0))
    assert 5 <= found < 12 and variance == pytest.approx(9.0, rel=0.1)


def test_tall_is_as_good_as_wide_and_scale_does_not_count():
    matrix = planted(7, 0.3)
    assert evbmf(matrix)[0] == evbmf(matrix.T)[0] == evbmf(matrix * 1e-4)[0] == 7
    assert evbmf(matrix * 10)[1] == pytest.approx(100 * evbmf(matrix)[1], rel=1e-6)


def test_without_noise_it_is_the_rank():
    assert evbmf(planted(5, 0.0)) == (5, 0.0)
    assert evbmf(torch.zeros(4, 9)) == (0, 0.0)
    assert evbmf(torch.ones(4, 9).float())[0] == 1


@pytest.mark.parametrize("wrong", [torch.ones(3), torch.full((2, 3), float("nan")), torch.ones(0, 3)])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(UsageError, match="finite"):
        evbmf(wrong)
