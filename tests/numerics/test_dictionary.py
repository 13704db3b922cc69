import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.dictionary import ksvd, pursuit


def planted(rows=40, columns=600, atoms=20, nonzeros=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(rows, atoms, dtype=torch.float64, generator=generator)
    codes = torch.zeros(atoms, columns, dtype=torch.float64)
    places = torch.rand(atoms, columns, generator=generator).topk(nonzeros, dim=0).indices
    codes.scatter_(0, places, torch.randn(nonzeros, columns, dtype=torch.float64, generator=generator))
    return basis / basis.norm(dim=0), codes


def test_pursuit_finds_the_codes_of_a_known_dictionary():
    basis, codes = planted()
    found = pursuit(basis @ codes, basis, 3)
    right = ((found - codes).norm(dim=0) < 1e-6 * codes.norm(dim=0)).float().mean()
    assert float(right) > 0.9
    assert int((found != 0).sum(0).max()) <= 3


def test_a_planted_dictionary_is_nearly_found():
    basis, codes = planted()
    w = basis @ codes
    b, a = ksvd(w, 40, 6, torch.Generator().manual_seed(1), sweeps=20)
    assert float((w - b @ a).norm() / w.norm()) < 0.06
    assert torch.allclose(b.norm(dim=0), torch.ones(40).double())
    assert int((a != 0).sum(0).max()) <= 6


def test_sweeps_help_and_repeat():
    w = torch.randn(20, 100, dtype=torch.float64)
    errors = []
    for sweeps in (0, 10):
        b, a = ksvd(w, 30, 4, torch.Generator().manual_seed(0), sweeps)
        errors.append(float((w - b @ a).norm()))
    assert errors[1] < 0.95 * errors[0]
    again = ksvd(w, 30, 4, torch.Generator().manual_seed(0), 10)
    assert torch.equal(again[0], b)
    assert torch.equal(again[1], a)


@pytest.mark.parametrize(("atoms", "nonzeros"), [(5, 0), (5, 6), (101, 2)])
def test_sizes_that_do_not_fit(atoms, nonzeros):
    with pytest.raises(UsageError, match="atoms"):
        ksvd(torch.randn(20, 100), atoms, nonzeros, torch.Generator())
