import numpy as np
import pytest
import torch

from featherweight.numerics import trellis
from featherweight.numerics.feedback import Feedback, compensated, compensated_quantized
from featherweight.numerics.rate import ContextEntropy
from featherweight.numerics.rounding import BALANCE, DEPENDENT_BALANCE, dependent_quantized
from featherweight.numerics.trellis_feedback import dependent_compensated, dependent_compensated_quantized

MODEL = ContextEntropy()


def moments_of(columns, groups=1):
    generator = torch.Generator().manual_seed(2)
    shared = torch.randn(groups, 4 * columns, 8, generator=generator) @ torch.randn(
        groups, 8, columns, generator=generator
    )
    inputs = shared + torch.randn(groups, 4 * columns, columns, generator=generator)
    return inputs.transpose(1, 2) @ inputs / inputs.shape[1]


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def output_error(weight, values, moments):
    off = weight.double() - torch.from_numpy(values).reshape(weight.shape)
    return float(torch.einsum("gri,gij,grj->", off, moments.double(), off))


@pytest.mark.parametrize("columns", [1, 5, 32, 33, 90])
def test_independent_inputs_give_the_plain_trellis(columns):
    weight, steps = drawn(1, 12, columns), torch.full((1, 12), 0.3)
    independent = Feedback.of(torch.eye(columns)[None])
    levels = dependent_compensated(weight, steps, independent, 0.0, None)
    assert np.array_equal(levels, trellis.search((weight[0] / 0.3).numpy(), np.ones((1, 1)), 0.0, None))


def test_and_the_same_bits_count():
    weight, steps = drawn(1, 30, 50), torch.full((1, 30), 0.5)
    independent = Feedback.of(torch.eye(50)[None])
    found = dependent_compensated_quantized(weight, steps, independent, DEPENDENT_BALANCE, MODEL)
    plain = dependent_quantized((weight[0] / 0.5).numpy(), np.ones((1, 1), np.float32), DEPENDENT_BALANCE, MODEL)
    assert (found == plain).mean() > 0.99


def test_feedback_lowers_the_output_error():
    weight, moments, steps = drawn(1, 30, 70), moments_of(70), torch.full((1, 30), 0.4)
    levels = dependent_compensated(weight, steps, Feedback.of(moments), 0.0, None)
    plain = trellis.search((weight[0] / 0.4).numpy(), np.ones((1, 1)), 0.0, None)
    errors = [output_error(weight, trellis.multiples(item) * 0.4, moments) for item in (levels, plain)]
    assert errors[0] < 0.7 * errors[1]


def test_the_survivors_keep_their_own_feedback():
    """The cost of the path that is told, step^2 times the sum of energy times error^2, is its output error."""
    weight, moments, step = drawn(1, 6, 40), moments_of(40), 0.5
    feedback = Feedback.of(moments, damping=0.0)
    values = trellis.multiples(dependent_compensated(weight, torch.full((1, 6), step), feedback, 0.0, None)) * step
    upper, rest, told = feedback.upper[0].double(), weight[0].double().clone(), 0.0
    for column in range(40):
        error = (rest[:, column] - torch.from_numpy(values[:, column])) / upper[column, column]
        assert (error * upper[column, column]).abs().max() < 3 * step  # no weight was left to run away
        told += float((error**2).sum())
        rest[:, column:] -= error[:, None] * upper[column, column:]
    assert told == pytest.approx(output_error(weight, values, moments), rel=1e-4)


def test_it_gains_about_a_decibel_over_feedback_on_a_grid():
    weight, moments = drawn(1, 100, 64), moments_of(64)
    feedback, steps = Feedback.of(moments), torch.ones(1, 100)
    runs = []
    for step in np.geomspace(0.4, 1.2, 9):
        levels = compensated_quantized(weight, steps * step, feedback, 0.5 * BALANCE, MODEL)
        runs.append((MODEL.total(levels), np.log10(output_error(weight, levels * step, moments))))
    levels = dependent_compensated_quantized(weight, steps * 0.4, feedback, 0.5 * DEPENDENT_BALANCE, MODEL)
    bits = MODEL.total(levels, trellis.odd_states(levels))
    error = np.log10(output_error(weight, trellis.multiples(levels) * 0.4, moments))
    same = np.interp(bits, *zip(*sorted(runs), strict=True))
    assert 10 * (same - error) > 0.6


def test_groups_are_layers_of_their_own():
    weight, moments = drawn(3, 4, 9), moments_of(9, groups=3)
    steps = torch.tensor([0.2, 0.3, 0.5])[:, None].expand(3, 4)
    together = dependent_compensated(weight, steps, Feedback.of(moments), 0.0, None).reshape(3, 4, 9)
    for group in range(3):
        part = slice(group, group + 1)
        alone = dependent_compensated(weight[part], steps[part], Feedback.of(moments[part]), 0.0, None)
        assert np.array_equal(together[group], alone)


def test_the_best_path_is_no_worse_than_the_greedy_one():
    """Even multiples alone, a grid of twice the step, take no part in any odd state: the trellis has more to choose."""
    weight, moments, step = drawn(1, 20, 30), moments_of(30), 0.3
    feedback = Feedback.of(moments)
    found = dependent_compensated(weight, torch.full((1, 20), step), feedback, 0.0, None)
    coarse = compensated(weight, torch.full((1, 20), 2 * step), feedback, 0.0, None)
    fine = output_error(weight, trellis.multiples(found) * step, moments)
    assert fine < 0.7 * output_error(weight, coarse * 2 * step, moments)
