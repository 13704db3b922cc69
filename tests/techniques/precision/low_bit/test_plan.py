import math

import numpy as np
import pytest
import torch

from featherweight.numerics.feedback import Feedback
from featherweight.numerics.rate import ContextEntropy
from featherweight.numerics.rounding import BALANCE
from featherweight.numerics.trellis import odd_states
from featherweight.techniques.precision.low_bit._plan import Method, Target, encoded, steps_of_rows

PLAIN, PRESSED, TRELLIS = Method(rounding=0.0), Method(), Method(dependent=True)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bits(encoding):
    levels = encoding.levels.reshape(len(encoding.levels), -1).numpy()
    return ContextEntropy().total(levels, odd_states(levels) if encoding.dependent else None)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_step_is_in_balance_with_the_price(scale):
    encoding = encoded(Target("w", drawn(40, 50), scale=scale), 0.01, PLAIN)
    assert float(encoding.step.to_tensor()) == pytest.approx(math.sqrt(0.01 / (BALANCE * scale)), rel=2**-8)
    assert encoding.step.stored == torch.bfloat16


def test_weights_ten_times_as_large_and_a_hundredth_as_important_get_the_same_levels():
    """Catalogue, B19, scale test: that is why tensors can share one price."""
    weight = drawn(40, 50)
    step = float(encoded(Target("w", weight), 0.01, PLAIN).step.to_tensor())
    for method in (PLAIN, PRESSED, TRELLIS):
        one = encoded(Target("w", weight), BALANCE * step**2, method)
        other = encoded(Target("w", weight * 16, scale=1 / 256), BALANCE * step**2, method)  # 16: exact in floats
        assert torch.equal(one.levels, other.levels)
        assert torch.equal(one.to_tensor() * 16, other.to_tensor())


@pytest.mark.parametrize("kind", ["plain", "pressed", "dependent", "feedback"])
def test_a_higher_price_gives_fewer_bits(kind):
    weight = drawn(60, 64)
    method = {"plain": PLAIN, "dependent": TRELLIS}.get(kind, PRESSED)
    inputs = drawn(300, 64, seed=1) @ drawn(64, 64, seed=2)
    feedback = Feedback.of((inputs.T @ inputs)[None] / 300) if kind == "feedback" else None
    sizes = [bits(encoded(Target("w", weight, feedback=feedback), price, method)) for price in (1e-4, 1e-3, 0.01, 0.1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]


def test_pressing_the_rate_lowers_the_sum_that_is_minimised():
    weight, price = drawn(100, 120), 0.05
    costs = {}
    for method in (PLAIN, PRESSED, TRELLIS):
        encoding = encoded(Target("w", weight), price, method)
        costs[method] = float((encoding.to_tensor() - weight).square().sum()) + price * bits(encoding)
    assert costs[PRESSED] < 0.995 * costs[PLAIN]
    assert costs[TRELLIS] < costs[PRESSED]


@pytest.mark.parametrize("price", [0.002, 0.02, 0.3])
def test_where_all_errors_count_alike_sizes_tell_enough(price):
    """Weights without structure: as good, for a coder with contexts, as weighing each one by its surroundings."""
    weight, alike = drawn(200, 300), np.ones((200, 300), np.float32)
    costs = []
    for importance in (np.ones((1, 1), np.float32), alike):
        encoding = encoded(Target("w", weight, importance), price, PRESSED)
        costs.append(float((encoding.to_tensor() - weight).square().sum()) + price * bits(encoding))
    assert costs[0] == pytest.approx(costs[1], rel=2e-3)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_without_native_code_the_levels_are_the_same(kind, monkeypatch):
    weight = drawn(300, 256).to(kind)  # enough that values of 16 bits are looked up
    fast = encoded(Target("w", weight), 0.01, PRESSED)
    for module in ("magnitudes", "scalar"):
        monkeypatch.setattr(f"featherweight.numerics.{module}.native", None)
    slow = encoded(Target("w", weight), 0.01, PRESSED)
    assert torch.equal(fast.levels, slow.levels)
    assert torch.equal(fast.to_tensor(), slow.to_tensor())


def test_what_matters_more_is_kept_better():
    weight = drawn(50, 60)
    importance = np.ones((50, 60), np.float32)
    importance[:, ::2] = 30
    kept = encoded(Target("w", weight, importance), 0.5, PRESSED).to_tensor()
    errors = (kept - weight).square()
    assert errors[:, ::2].mean() < 0.9 * errors[:, 1::2].mean()


@pytest.mark.parametrize("method", [PLAIN, PRESSED, TRELLIS])
def test_outside_the_mask_all_is_zero(method):
    weight = drawn(30, 40)
    mask = weight.abs() > 0.5
    kept = encoded(Target("w", weight * mask, mask=mask), 0.01, method).to_tensor()
    assert bool((kept[~mask] == 0).all())
    assert (kept[mask] != 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_any_type_of_weight(kind):
    weight = drawn(8, 9).to(kind)
    encoding = encoded(Target("w", weight), 0.01, PRESSED)
    assert encoding.dtype == kind
    assert (encoding.to_tensor() - weight).abs().max() < 0.5


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1), (2, 3, 4, 5)])
def test_any_shape(shape):
    for method in (PLAIN, PRESSED, TRELLIS):
        assert encoded(Target("w", drawn(*shape)), 0.01, method).shape == shape


def test_zeros_huge_weights_and_prices_near_nothing():
    zeros = encoded(Target("w", torch.zeros(3, 4)), 0.01, PRESSED)
    assert zeros.nonzeros == 0
    huge = encoded(Target("w", torch.tensor([[3e38, 1.0]])), 1e-30, PRESSED)
    assert bool(torch.isfinite(huge.to_tensor()).all())
    tiny = encoded(Target("w", torch.tensor([[3e-38, 1e-38]])), 1e-90, PLAIN)
    assert tiny.nonzeros > 0


def uneven(rows=48, columns=80):
    """Rows from a tenth to ten times as large as others."""
    return drawn(rows, columns) * torch.logspace(-1, 1, rows)[:, None]


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_steps_of_rows_go_with_their_sizes(power):
    weight = uneven()
    found = steps_of_rows(weight, power)
    assert found.dtype == torch.int32
    assert int(found.min()) >= 1
    ratio = found.double().log() - power * weight.double().square().mean(dim=1).log() / 2
    assert float((ratio - ratio.median()).abs().max()) < 0.5  # a small row's step is rounded by up to a half


@pytest.mark.parametrize("weight", [drawn(7), torch.zeros(3, 4), torch.ones(3, 4), drawn(1, 9)])
def test_no_steps_of_rows_where_there_is_nothing_to_tell_apart(weight):
    assert steps_of_rows(weight, 1.0) is None
    assert steps_of_rows(uneven(), 0.0) is None


def test_a_row_of_zeros_gets_some_step():
    weight = uneven()
    weight[5] = 0
    rows = steps_of_rows(weight, 1.0)
    encoding = encoded(Target("w", weight, rows=rows), 0.01, PRESSED)
    assert int(rows[5]) == 1
    assert bool((encoding.to_tensor()[5] == 0).all())


@pytest.mark.parametrize("kind", ["plain", "pressed", "dependent", "feedback", "dependent feedback"])
def test_with_steps_of_rows_equal_parts_of_each_row_are_lost(kind):
    weight = uneven()
    rows = steps_of_rows(weight, 1.0)
    method = TRELLIS if "dependent" in kind else PLAIN if kind == "plain" else PRESSED
    inputs = drawn(300, 80, seed=1)
    feedback = Feedback.of((inputs.T @ inputs)[None] / 300) if "feedback" in kind else None
    encoding = encoded(Target("w", weight, feedback=feedback, rows=rows), 1e-3 / float(rows.float().mean()), method)
    assert torch.equal(encoding.step.levels, rows)
    lost = (encoding.to_tensor() - weight).square().mean(dim=1) / weight.square().mean(dim=1)
    assert float(lost.max()) < 8 * float(lost.min())  # the sizes of rows differ by ten thousand in square
