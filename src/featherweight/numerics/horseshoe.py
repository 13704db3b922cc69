"""Bayesian group priors: what a posterior costs, which groups it gives up, and how many bits it leaves.

Notation: a group of weights w = z * w~ shares a scale z. Normal-Jeffreys: p(z) ~ 1/|z|, q(z) = N(m, alpha m^2).
Horseshoe: z = sqrt(s_a s_b a b), with s_a ~ Gamma(1/2, scale tau^2), a ~ Gamma(1/2, 1) and s_b, b ~
InverseGamma(1/2, 1), so that sqrt(s_a s_b) is half-Cauchy of scale tau and sqrt(a b) of scale 1; each q is log-normal,
LN(m, v) of log mean m and log variance v. All w~ ~ N(0, 1), q(w~) = N(m, v). Divergences KL(q || p) are in nats, one
for each element, and differentiable. Sources: Louizos, Ullrich, Welling 2017 (NIPS, "Bayesian compression for deep
learning"), section 3 and appendices; Molchanov, Ashukha, Vetrov 2017 (ICML, "Variational dropout"), equation 14.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from featherweight.errors import UsageError

SIGNIFICAND = 23  # bits after the point that a float32 holds


def log_uniform_kl(log_alpha: Tensor) -> Tensor:
    """KL(N(m, alpha m^2) || 1/|z|) up to a constant that makes it 0 at alpha = infinity; within 0.01.

    Molchanov et al. 2017, equation 14, whose third constant is fitted.
    """
    return 0.63576 - 0.63576 * torch.sigmoid(1.87320 + 1.48695 * log_alpha) + 0.5 * functional.softplus(-log_alpha)


def log_alpha(mean: Tensor, log_variance: Tensor) -> Tensor:
    """log of variance over squared mean: the dropout rate of a scale; groups far above 0 are noise."""
    return log_variance - torch.log(mean.square() + 1e-8)


def normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, v) || N(0, 1))."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)


def gamma_kl(mean: Tensor, log_variance: Tensor, scale: float = 1.0) -> Tensor:
    """KL(LN(m, v) || Gamma(1/2, scale)), with `scale` > 0 the scale, not the rate.

    Raises: UsageError when `scale` is not above 0.
    """
    if not scale > 0:
        raise UsageError("the scale of a Gamma prior must be above 0", value=scale)
    rate = torch.exp(mean + log_variance.exp() / 2 - math.log(scale))
    return rate + 0.5 * math.log(scale) - 0.5 * (mean + log_variance + 1 + math.log(2))


def inverse_gamma_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(LN(m, v) || InverseGamma(1/2, 1))."""
    return torch.exp(log_variance.exp() / 2 - mean) - 0.5 * (log_variance - mean + 1 + math.log(2))


def product(*factors: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(m, log v) of the square root of a product of independent log-normals, each given as (m, log v); broadcast.

    Of (s_a, s_b, a, b) it is the posterior of a horseshoe's scale z.
    """
    mean = sum((factor[0] for factor in factors), torch.zeros(())) / 2
    variance = sum((factor[1].exp() for factor in factors), torch.zeros(())) / 4
    return mean, variance.log()


def log_normal_moments(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of LN(m, v)."""
    variance = log_variance.exp()
    expected = torch.exp(mean + variance / 2)
    return expected, torch.expm1(variance) * expected.square()


def negative_log_mode(mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log of the mode of LN(m, v), v - m: large for groups that the posterior gives up."""
    return log_variance.exp() - mean


def marginal_variance(scale: tuple[Tensor, Tensor], weight: tuple[Tensor, Tensor]) -> Tensor:
    """Variance of z * w~ for independent z and w~, each given as (mean, variance); broadcast."""
    (scale_mean, scale_variance), (mean, variance) = scale, weight
    return scale_mean.square() * variance + scale_variance * (mean.square() + variance)


def significand_bits(variance: Tensor) -> Tensor:
    """How many bits after the point (0..23, int64) a weight of this posterior variance is worth, each by itself.

    As many as have a unit round-off, 2^-t, above twice the variance.
    """
    roundoff = torch.pow(2.0, -torch.arange(1, SIGNIFICAND + 1, dtype=torch.float64, device=variance.device))
    return SIGNIFICAND - torch.searchsorted(roundoff.flip(0), 2 * variance.detach().double(), right=True)


def layer_bits(variance: Tensor, mask: Tensor | None = None) -> int:
    """Bits after the point for a whole layer: the mean of what its surviving weights are worth, rounded up.

    `mask` (bool, of the variance's shape) is True where a weight survives; without survivors 0.
    """
    bits = significand_bits(variance if mask is None else variance[mask])
    return math.ceil(float(bits.double().mean())) if bits.numel() else 0


def exponent_bits(largest: float) -> int:
    """Bits of exponent that reach `largest` (>= 0) before they overflow: 8 for the largest float32."""
    return math.ceil(math.log2(math.log2(largest + 1) + 1))


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Weights on the grid that `bits` (0..23) bits after the point give: multiples of 2^-bits, halves up."""
    if not 0 <= bits <= SIGNIFICAND:
        raise UsageError(f"a grid has 0 to {SIGNIFICAND} bits after the point", value=bits)
    return torch.floor(weight * 2.0**bits + 0.5) / 2.0**bits
