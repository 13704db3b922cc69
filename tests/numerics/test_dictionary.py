import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics import dictionary
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


def least_error(matrix, basis, columns):
    """Of each column by the best of all supports of three atoms."""
    supports = torch.combinations(torch.arange(basis.shape[1]), 3)
    parts = basis.T[supports].mT
    found = parts @ torch.linalg.pinv(parts) @ matrix[:, columns]
    return (matrix[:, columns] - found).norm(dim=1).min(0).values


def test_pursuit_is_as_good_as_the_best_of_all_supports_where_atoms_are_not_alike():
    basis, codes = planted(rows=30, columns=5, atoms=8)
    w = basis @ codes + 0.01 * torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    errors = (w - basis @ pursuit(w, basis, 3)).norm(dim=0)
    assert torch.allclose(errors, least_error(w, basis, torch.arange(5)), rtol=1e-6)


def test_pursuit_of_many_columns_is_that_of_each(monkeypatch):
    basis, codes = planted(columns=50)
    w = basis @ codes
    together = pursuit(w, basis, 4)
    monkeypatch.setattr(dictionary, "_BLOCK", 4**2 * 7)  # seven columns at once
    assert torch.allclose(pursuit(w, basis, 4), together, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("atoms", "nonzeros"), [(20, 3), (40, 6)], ids=["as planted", "twice as many"])
def test_a_planted_dictionary_is_found(atoms, nonzeros, seed):
    basis, codes = planted(seed=seed)
    w = basis @ codes
    b, a = ksvd(w, atoms, nonzeros, torch.Generator().manual_seed(1), sweeps=40, starts=3)
    assert float((w - b @ a).norm() / w.norm()) < 3e-3
    assert torch.allclose(b.norm(dim=0), torch.ones(atoms).double())
    assert int((a != 0).sum(0).max()) <= nonzeros


def test_renewing_only_takes_error_away_and_ends_at_the_singular_vectors():
    w = torch.randn(12, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis, codes = torch.eye(12, 5, dtype=torch.float64), torch.zeros(5, 60, dtype=torch.float64)
    codes[0] = 1.0
    codes[1, :20] = 1.0
    before = float((w - basis @ codes).norm())
    for _ in range(3):
        dictionary._renew(w, basis, codes)
        after = float((w - basis @ codes).norm())
        assert after < before
        before = after
    codes[1] = 0
    for _ in range(60):
        dictionary._renew(w, basis, codes)
    assert float((w - basis @ codes).norm()) == pytest.approx(float(torch.linalg.svdvals(w)[1:].norm()), rel=1e-6)


def test_the_least_useful_atom_and_unused_ones_become_columns_that_are_served_worst():
    basis, codes = torch.eye(4, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    codes[0, 0], codes[1, 1], codes[2, 2] = 5.0, 4.0, 0.5
    w = basis @ codes + 1.0
    w[3, 1] = -9.0
    dictionary._replace_least(w, basis, codes)
    assert torch.equal(basis[:, :3], torch.eye(4, 3, dtype=torch.float64))  # the fourth is unused: only it goes
    assert torch.allclose(basis[:, 3], w[:, 1] / w[:, 1].norm())
    dictionary._replace_least(w, basis, torch.where(codes == 0, 0, codes))
    assert torch.equal(basis[:, :2], torch.eye(4, 2, dtype=torch.float64))


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


def test_no_start_at_all():
    with pytest.raises(UsageError, match="start"):
        ksvd(torch.randn(20, 100), 5, 2, torch.Generator(), starts=0)


def test_a_matrix_of_zeros():
    b, a = ksvd(torch.zeros(6, 10), 4, 2, torch.Generator().manual_seed(0), 3)
    assert torch.isfinite(b).all()
    assert not (b @ a).any()
