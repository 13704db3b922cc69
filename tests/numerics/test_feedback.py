import numpy as np
import pytest
import torch

from featherweight.numerics.feedback import Feedback, compensated, compensated_quantized, shrunk
from featherweight.numerics.rate import ContextEntropy

MODEL = ContextEntropy()


def correlated(columns, groups=1, seed=0):
    """Second moments of inputs that share a few sources, (groups, columns, columns)."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(groups, 4 * columns, columns // 3, generator=generator) @ torch.randn(
        groups, columns // 3, columns, generator=generator
    )
    inputs = mixed + torch.randn(groups, 4 * columns, columns, generator=generator)
    return inputs.transpose(1, 2) @ inputs / inputs.shape[1]


def output_error(weight, levels, step, moments):
    off = weight - torch.from_numpy(levels).reshape(weight.shape) * step
    return float(torch.einsum("gri,gij,grj->", off.double(), moments.double(), off.double()))


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_independent_inputs_give_plain_rounding():
    """Catalogue, B14, first check."""
    weight = drawn(1, 20, 30)
    moments = torch.diag(torch.rand(30) + 0.1)[None]
    levels = compensated(weight, torch.full((1, 20), 0.3), Feedback.of(moments), 0.0, None)
    assert np.array_equal(levels, (weight[0] / 0.3).round().int().numpy())


def test_correlated_inputs_give_less_output_error_and_more_weight_error():
    """Catalogue, B14: 0.72 and 1.58 in its toy."""
    weight, moments, step = drawn(1, 40, 64), correlated(64), 0.5
    levels = compensated(weight, torch.full((1, 40), step), Feedback.of(moments), 0.0, None)
    plain = (weight[0] / step).round().int().numpy()
    assert output_error(weight, levels, step, moments) < 0.75 * output_error(weight, plain, step, moments)
    away = [((weight[0] - torch.from_numpy(item) * step) ** 2).sum() for item in (levels, plain)]
    assert away[0] > 1.1 * away[1]


def test_the_energies_tell_the_output_error():
    """Catalogue, B14: the sum of e^2 is the squared error of the output, without damping."""
    weight, moments, step = drawn(1, 8, 24), correlated(24), 0.4
    feedback = Feedback.of(moments, damping=0.0)
    levels = torch.from_numpy(compensated(weight, torch.full((1, 8), step), feedback, 0.0, None))
    upper = feedback.upper[0].double()
    rest, told = weight[0].double().clone(), 0.0
    for column in range(24):
        error = (rest[:, column] - levels[:, column] * step) / upper[column, column]
        told += float((error**2).sum())
        rest[:, column:] -= error[:, None] * upper[column, column:]
    assert told == pytest.approx(output_error(weight, levels.numpy(), step, moments), rel=1e-4)
    d = feedback.energy[0] * feedback.scale[0]
    assert torch.allclose(d.float(), (1 / torch.diagonal(upper) ** 2).float(), rtol=1e-4)


def test_groups_are_layers_of_their_own():
    weight, moments = drawn(3, 5, 12), correlated(12, groups=3)
    steps = torch.tensor([0.2, 0.3, 0.5])[:, None].expand(3, 5)
    together = compensated(weight, steps, Feedback.of(moments), 0.0, None).reshape(3, 5, 12)
    for group in range(3):
        part = slice(group, group + 1)
        alone = compensated(weight[part], steps[part], Feedback.of(moments[part]), 0.0, None)
        assert np.array_equal(together[group], alone)


def test_blocks_change_nothing_that_matters():
    weight, moments = drawn(1, 10, 150), correlated(150)
    levels = compensated(weight, torch.full((1, 10), 0.5), Feedback.of(moments), 0.0, None)
    upper, rest = Feedback.of(moments).upper[0], weight[0].clone()
    for column in range(150):
        chosen = (rest[:, column] / 0.5).round()
        rest[:, column:] -= ((rest[:, column] - chosen * 0.5) / upper[column, column])[:, None] * upper[column, column:]
        assert (levels[:, column] == chosen.numpy()).mean() >= 0.9


def test_the_rate_is_weighed_with_what_an_error_costs():
    weight, moments, step = drawn(1, 60, 80), correlated(80), 0.7
    feedback, steps = Feedback.of(moments), torch.full((1, 60), step)
    runs = [compensated_quantized(weight, steps, feedback, price, MODEL) for price in (0.0, 0.05, 0.1155, 0.3)]
    bits = [MODEL.total(levels) for levels in runs]
    assert bits == sorted(bits, reverse=True)
    errors = [output_error(weight, levels, step, moments) for levels in runs]
    assert errors[-1] > errors[0]
    coarse = compensated_quantized(weight, steps * 1.4, feedback, 0.0, MODEL)
    if MODEL.total(coarse) >= bits[2]:
        assert errors[2] < output_error(weight, coarse, step * 1.4, moments)


def test_inputs_that_never_occur():
    moments = correlated(12)
    moments[:, 3], moments[:, :, 3] = 0, 0
    levels = compensated(drawn(1, 4, 12), torch.full((1, 4), 0.3), Feedback.of(moments), 0.0, None)
    assert np.isfinite(levels).all()
    dead = Feedback.of(torch.zeros(2, 5, 5))
    assert torch.isfinite(dead.upper).all()


def test_moments_of_few_samples_get_nearer_to_the_true_ones():
    """Independent inputs around a mean, of which 40 samples see 60: they are not to look dependent."""
    generator = torch.Generator().manual_seed(4)
    scales = torch.linspace(0.2, 2, 60)
    inputs = torch.randn(40, 60, generator=generator) * scales + 1.5
    moments, means = (inputs.T @ inputs / 40)[None], inputs.mean(dim=0)[None]
    true = torch.diag(scales.square()).double() + 1.5**2
    better = shrunk(moments, means, 40)[0]
    middle, alone = means[0][:, None] * means[0][None], torch.diag(scales.square())
    assert (better - middle - alone).norm() < 0.5 * (moments[0] - middle - alone).norm()
    assert torch.allclose(torch.diagonal(better), torch.diagonal(moments[0]).double(), rtol=1e-6)
    weight, step = drawn(1, 50, 60), torch.full((1, 50), 0.5)
    errors = []
    for told in (moments, better[None]):
        levels = compensated(weight, step, Feedback.of(told), 0.0, None)
        errors.append(output_error(weight, levels, 0.5, true[None]))
    assert errors[1] < 0.8 * errors[0]


def test_moments_of_many_samples_stay():
    inputs = torch.randn(20_000, 10, generator=torch.Generator().manual_seed(5)) @ drawn(1, 10, 10)[0]
    moments, means = (inputs.T @ inputs / 20_000)[None], inputs.mean(dim=0)[None]
    assert torch.allclose(shrunk(moments, means, 20_000), moments.double(), rtol=0.02, atol=0.02)
    assert torch.isfinite(shrunk(torch.zeros(1, 3, 3), torch.zeros(1, 3), 1)).all()
