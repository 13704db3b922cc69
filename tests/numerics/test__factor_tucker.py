import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.factor import spectra, tucker


@pytest.fixture
def kernel():
    return torch.randn(16, 12, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def lost(kernel, found):
    return float((kernel - found.kernel()).square().sum())


@pytest.mark.parametrize("places", [(), (3,), (3, 3), (2, 3, 2)])
def test_full_ranks_change_nothing(places):
    kernel = torch.randn(7, 5, *places, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(tucker(kernel, (7, 5)).kernel(), kernel, atol=1e-5)


def test_the_columns_are_orthonormal_and_the_core_holds_what_is_kept(kernel):
    found = tucker(kernel, (8, 6))
    assert found.core.shape == (8, 6, 3, 3) and found.outputs.shape == (16, 8) and found.inputs.shape == (12, 6)
    for basis in (found.outputs, found.inputs):
        assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=basis.dtype), atol=1e-10)
    assert lost(kernel, found) == pytest.approx(float(kernel.square().sum() - found.core.square().sum()), rel=1e-9)


def test_iterating_improves_on_the_first_guess_which_keeps_its_bound(kernel):
    first, better = (lost(kernel, tucker(kernel, (8, 6), sweeps=sweeps)) for sweeps in (0, 25))
    by_output, by_input = spectra(kernel)
    bound = float(by_output[8:].sum() + by_input[6:].sum())
    assert better < 0.97 * first
    assert first <= bound
    assert first <= 2 * better  # the error is at most sqrt(2) of the best, its square at most twice


def test_more_ranks_lose_less(kernel):
    errors = [lost(kernel, tucker(kernel, (rank, min(rank, 12)))) for rank in range(1, 17)]
    assert errors == sorted(errors, reverse=True)


def test_spectra_are_the_squares_of_both_unfoldings(kernel):
    by_output, by_input = spectra(kernel)
    assert torch.allclose(by_output, torch.linalg.svdvals(kernel.flatten(1)).square())
    assert torch.allclose(by_input, torch.linalg.svdvals(kernel.transpose(0, 1).flatten(1)).square())


@pytest.mark.parametrize("ranks", [(0, 3), (17, 3), (3, 13)])
def test_ranks_beyond_the_channels_are_refused(kernel, ranks):
    with pytest.raises(UsageError, match="channels"):
        tucker(kernel, ranks)
