import math

import pytest
import torch
from torch.distributions import Gamma, HalfCauchy, InverseGamma, LogNormal, Normal

from featherweight.errors import UsageError
from featherweight.numerics import horseshoe

DRAWS = 1_000_000


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def tensors(*values):
    return tuple(torch.tensor(value, dtype=torch.float64) for value in values)


def monte_carlo(posterior, prior):
    z = posterior.sample((DRAWS,))
    return float((posterior.log_prob(z) - prior.log_prob(z)).mean())


def log_normal(mean, variance):
    m, v = tensors(mean, variance)
    return LogNormal(m, v.sqrt()), (m, v.log())


@pytest.mark.parametrize("log_alpha", [-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0])
def test_the_log_uniform_prior_against_monte_carlo(log_alpha):
    """T7: up to a constant the divergence is E log|1 + sqrt(alpha) e| - log(alpha) / 2, which falls to E log|e|."""
    noise = torch.randn(4 * DRAWS, dtype=torch.float64)
    sampled = float(torch.log((1 + math.exp(log_alpha / 2) * noise).abs()).mean()) - log_alpha / 2
    at_infinity = -0.5 * (math.log(2) + 0.5772156649)
    told = float(horseshoe.log_uniform_kl(torch.tensor(log_alpha, dtype=torch.float64)))
    assert told == pytest.approx(sampled - at_infinity, abs=1e-2)


def test_the_table_of_the_catalogue():
    """T7."""
    (points,) = tensors([-6.0, -3, -1, 0, 1, 3, 6])
    told = -horseshoe.log_uniform_kl(points)
    assert told.tolist() == pytest.approx([-3.636, -2.116, -0.914, -0.431, -0.178, -0.025, -0.001], abs=1e-3)


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.4), (-1.0, 0.1), (0.0, 1e-2)])
def test_closed_forms_against_monte_carlo(mean, variance):
    posterior, place = log_normal(mean, variance)
    half, one = tensors(0.5, 1.0)
    for scale in (0.7, 1.0, 3.0):
        sampled = monte_carlo(posterior, Gamma(half, one / scale))
        assert float(horseshoe.gamma_kl(*place, scale)) == pytest.approx(sampled, abs=1e-2)
    sampled = monte_carlo(posterior, InverseGamma(half, one))
    assert float(horseshoe.inverse_gamma_kl(*place)) == pytest.approx(sampled, abs=1e-2)
    m, v = tensors(mean, variance)
    sampled = monte_carlo(Normal(m, v.sqrt()), Normal(0 * one, one))
    assert float(horseshoe.normal_kl(m, v.log())) == pytest.approx(sampled, abs=1e-2)


def test_the_values_of_the_catalogue():
    """T8."""
    _, place = log_normal(0.3, 0.4)
    assert -float(horseshoe.gamma_kl(*place, 0.7)) == pytest.approx(-1.6386, abs=1e-4)
    assert -float(horseshoe.inverse_gamma_kl(*place)) == pytest.approx(-0.6664, abs=1e-4)


def test_the_decomposition_is_a_half_cauchy():
    """The prior that the divergences stand for: quantiles of sqrt(Gamma * InverseGamma)."""
    half, one = tensors(0.5, 1.0)
    tau = 0.3
    drawn = (Gamma(half, one / tau**2).sample((DRAWS,)) * InverseGamma(half, one).sample((DRAWS,))).sqrt()
    shares = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    assert torch.allclose(drawn.sort().values[(shares * DRAWS).long()], HalfCauchy(tau).icdf(shares), rtol=1e-2)


def test_the_scale_of_a_horseshoe_is_log_normal():
    factors = [log_normal(*pair) for pair in ((0.3, 0.4), (-0.2, 0.1), (0.5, 0.2), (0.0, 0.3))]
    sampled = math.prod(posterior.sample((DRAWS,)) for posterior, _ in factors).sqrt()
    mean, log_variance = horseshoe.product(*(place for _, place in factors))
    assert float(sampled.log().mean()) == pytest.approx(float(mean), abs=1e-2)
    assert float(sampled.log().var()) == pytest.approx(float(log_variance.exp()), abs=1e-2)
    expected, variance = horseshoe.log_normal_moments(mean, log_variance)
    assert float(sampled.mean()) == pytest.approx(float(expected), rel=1e-2)
    assert float(sampled.var()) == pytest.approx(float(variance), rel=2e-2)


def test_one_scale_and_many_groups_go_together():
    """s_a and s_b are single numbers, a and b vectors."""
    single, many = (torch.zeros(()), torch.zeros(())), (torch.arange(3.0), torch.zeros(3))
    mean, log_variance = horseshoe.product(single, single, many, many)
    assert mean.tolist() == [0.0, 1.0, 2.0]
    assert torch.allclose(log_variance, torch.zeros(3))


def test_the_mode_is_where_the_density_is_highest():
    posterior, place = log_normal(0.3, 0.4)
    grid = torch.linspace(0.01, 5, 100_000, dtype=torch.float64)
    mode = float(grid[posterior.log_prob(grid).argmax()])
    assert float(horseshoe.negative_log_mode(*place)) == pytest.approx(-math.log(mode), abs=1e-3)


def test_the_variance_of_a_product_is_the_marginal_one():
    """Not that of the weight given its scale, which misses two terms of three."""
    z = 1.5 + 0.7 * torch.randn(DRAWS, dtype=torch.float64)
    w = -0.8 + 0.4 * torch.randn(DRAWS, dtype=torch.float64)
    told = float(horseshoe.marginal_variance(tensors(1.5, 0.49), tensors(-0.8, 0.16)))
    assert float((z * w).var()) == pytest.approx(told, rel=1e-2)
    assert told > 1.5 * 1.5**2 * 0.16
    assert float(horseshoe.marginal_variance(tensors(1.0, 0.0), tensors(-0.8, 0.16))) == pytest.approx(0.16)


def test_dropout_rates_fall_with_certainty():
    rates = horseshoe.log_alpha(torch.tensor([1.0, 1.0, 2.0, 0.0]), torch.tensor([-9.0, 0.0, 0.0, 0.0]))
    assert rates[:2].tolist() == pytest.approx([-9.0, 0.0], abs=1e-6)
    assert float(rates[2]) == pytest.approx(-2 * math.log(2))
    assert float(rates[3]) > 15


def test_bits_of_a_variance():
    """T9, and both ends."""
    variances = torch.tensor([1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1.0, 0.25, 0.0])
    assert horseshoe.significand_bits(variances).tolist() == [2, 5, 8, 12, 18, 0, 0, 23]
    counted = [sum(2 * v < 0.5 * 2.0 ** (1 - t) for t in range(1, 24)) for v in variances.double().tolist()]
    assert horseshoe.significand_bits(variances).tolist() == counted


def test_bits_of_a_layer():
    variance = torch.tensor([[1e-1, 1e-2], [1e-3, 1e-6]])
    assert horseshoe.layer_bits(variance) == 9  # 2, 5, 8, 18
    assert horseshoe.layer_bits(variance, torch.tensor([[True, True], [False, False]])) == 4
    assert horseshoe.layer_bits(variance, torch.zeros(2, 2, dtype=torch.bool)) == 0
    assert [horseshoe.exponent_bits(largest) for largest in (0.0, 0.9, 1.5, 7.0, 3.4e38)] == [0, 1, 2, 2, 8]


def test_rounding_to_bits():
    weight = torch.tensor([0.3, -0.3, 0.126, 1.0])
    assert horseshoe.rounded(weight, 2).tolist() == [0.25, -0.25, 0.25, 1.0]
    assert float((horseshoe.rounded(weight, 12) - weight).abs().max()) <= 2.0**-13
    with pytest.raises(UsageError, match="0 to 23"):
        horseshoe.rounded(weight, 24)
    with pytest.raises(UsageError, match="above 0"):
        horseshoe.gamma_kl(weight, weight, 0.0)


def test_gradients_flow():
    mean, log_variance = torch.zeros(3, requires_grad=True), torch.full((3,), -1.0, requires_grad=True)
    total = horseshoe.gamma_kl(mean, log_variance, 1e-10) + horseshoe.inverse_gamma_kl(mean, log_variance)
    total = total + horseshoe.log_uniform_kl(horseshoe.log_alpha(mean + 1, log_variance))
    (total + horseshoe.normal_kl(mean, log_variance)).sum().backward()
    assert bool(torch.isfinite(mean.grad).all() & torch.isfinite(log_variance.grad).all())
    assert bool((log_variance.grad != 0).all())
