import pytest
import torch

from featherweight.errors import UsageError
from featherweight.numerics.factor import cp


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sum_of_products(rank, shape=(16, 12, 3, 3), seed=1):
    source = generator(seed)
    factors = [torch.randn(size, rank, generator=source, dtype=torch.float64) for size in shape]
    return torch.einsum("ar,br,cr,dr->abcd", *factors)


def test_a_planted_rank_is_recovered():
    kernel = sum_of_products(3)
    found = cp(kernel, 3, generator(), starts=10)
    assert found.error < 1e-6
    assert torch.allclose(found.tensor(), kernel, atol=1e-5 * float(kernel.abs().max()))


def test_a_separable_kernel_needs_one_term():
    line = torch.exp(-torch.linspace(-1, 1, 5, dtype=torch.float64).square())
    kernel = torch.einsum("o,i,h,w->oihw", torch.ones(4).double(), torch.ones(3).double(), line, line)
    assert cp(kernel, 1, generator()).error < 1e-9


def test_the_norm_of_a_term_is_shared_equally():
    found = cp(torch.randn(6, 5, 3, 3, generator=generator()), 4, generator())
    norms = torch.stack([factor.norm(dim=0) for factor in found.factors])
    assert torch.allclose(norms, norms[0].expand_as(norms), rtol=1e-4)


def test_the_error_is_told_and_falls_with_the_rank():
    kernel = torch.randn(8, 6, 3, 3, generator=generator(), dtype=torch.float64)
    errors = []
    for rank in (1, 4, 16, 54):
        found = cp(kernel, rank, generator(), starts=2, sweeps=200)
        assert found.error == pytest.approx(float((found.tensor() - kernel).norm() / kernel.norm()), abs=1e-6)
        errors.append(found.error)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4  # as many terms as the smallest unfolding has places


def test_terms_that_grow_without_end_are_held():
    """a a b + a b a + b a a has rank 3 and is a limit of rank 2: the best rank-2 fit does not exist."""
    a, b = torch.eye(4, dtype=torch.float64)[:2]
    kernel = sum(torch.einsum("i,j,k->ijk", *parts) for parts in ((a, a, b), (a, b, a), (b, a, a)))
    found = cp(kernel, 2, generator(), starts=3, sweeps=200)
    sizes = torch.stack([factor.norm(dim=0) for factor in found.factors]).prod(dim=0)
    assert float(sizes.max()) <= 1e3 * float(kernel.norm()) and found.error < 0.6


def test_the_same_generator_gives_the_same_bits():
    kernel = torch.randn(6, 5, 3, 3, generator=generator())
    first, second = cp(kernel, 3, generator(5)), cp(kernel, 3, generator(5))
    assert all(torch.equal(one, two) for one, two in zip(first.factors, second.factors, strict=True))


@pytest.mark.parametrize(
    ("tensor", "rank"), [(torch.ones(3), 1), (torch.ones(3, 3), 0), (torch.zeros(3, 3), 1), (torch.ones(2, 2) / 0, 1)]
)
def test_what_has_no_terms_is_refused(tensor, rank):
    with pytest.raises(UsageError, match="factored"):
        cp(tensor, rank, generator())
