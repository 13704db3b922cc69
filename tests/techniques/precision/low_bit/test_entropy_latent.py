import copy

import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.techniques.precision.low_bit._entropy_latent import Latent, Penalised
from featherweight.techniques.precision.low_bit._entropy_narrow import Narrowing
from featherweight.training.constraints import constraints_of

ALL = Narrowing([], [], torch.device("cpu"))


def net():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def penalised(model, names=("0.weight", "2.weight"), price=1e-3):
    tensors = dict(model.named_parameters())
    return Penalised(model, {name: Latent(tensors[name], 0.1) for name in names}, price, ALL)


def test_the_weight_is_a_whole_number_of_a_step_that_half_precision_holds():
    latent = Latent(torch.randn(9, 9), 0.17)
    step = latent.step
    assert step == step.half().float()
    assert torch.equal(latent.weight().detach(), step * latent.levels)
    assert torch.equal(latent.levels, (latent.value.detach() / 0.17).round())


def test_gradients_go_straight_through_the_rounding():
    latent = Latent(torch.randn(4, 5), 0.5)
    weights = torch.randn(4, 5)
    (latent.weight() * weights).sum().backward()
    step = latent.step
    assert torch.allclose(latent.value.grad, weights * step / 0.5)
    assert torch.allclose(latent.gain.grad, (weights * latent.levels).sum() * step, rtol=1e-5)


def test_masked_weights_are_zero():
    mask = torch.rand(8, 8) < 0.5
    latent = Latent(torch.randn(8, 8) + 3, 0.2, mask)
    with torch.no_grad():
        latent.value += 1
    assert torch.equal(latent.weight() != 0, mask)


def test_the_rate_is_what_a_level_more_would_cost():
    torch.manual_seed(0)
    latent = Latent(torch.randn(30, 40) * 0.3, 0.2)
    bits = latent.refit()
    latent.rate().backward()
    slope = latent.value.grad * 0.2  # bits a level
    inside = latent.value.detach().abs() < 0.2
    assert torch.allclose(slope.abs()[inside], latent.price_one[inside], rtol=1e-5)
    assert torch.allclose(slope.abs()[~inside], latent.price_more.expand(slope.shape)[~inside], rtol=1e-5)
    assert bool((slope * latent.value.detach() >= 0).all())  # away from zero is dearer
    with torch.no_grad():
        latent.value.mul_(0.5)
    assert latent.refit() < bits


def test_the_model_runs_on_rounded_weights_and_keeps_them_on_release():
    model = net()
    dense = copy.deepcopy(model)
    rounded = penalised(model)
    inputs = torch.randn(4, 6)
    given = rounded(inputs)
    assert not torch.equal(given, dense(inputs))
    assert torch.equal(model[0].weight, dense[0].weight)  # at rest
    assert {name for name, parameter in rounded.named_parameters() if parameter.requires_grad} == {
        "model.0.bias",
        "model.2.bias",
        *(f"latents.{number}.{part}" for number in (0, 1) for part in ("value", "gain")),
    }
    rounded.release()
    assert torch.equal(model(inputs), given)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_other_constraints_come_along():
    model = net()
    attach(model, {"0.bias": Dense(model[0].bias.detach(), torch.float16), "0.weight": Dense(model[0].weight.detach())})
    assert list(constraints_of(penalised(model))) == ["model.0.bias"]


@pytest.mark.parametrize(("now", "moved"), [(2000, 1), (1000, 0), (500, -1)])
def test_steering_moves_the_penalty_towards_the_goal(now, moved):
    rounded = penalised(net(), price=1e-4)
    before = float(rounded.price)
    rounded.steer(now, 1000)
    assert (float(rounded.price) > before) - (float(rounded.price) < before) == moved


def test_steering_looks_ahead():
    rounded = penalised(net(), price=1e-4)
    rounded.steer(2000, 1000)
    before = float(rounded.price)
    rounded.steer(1600, 1000)  # above the goal, and falling fast
    assert float(rounded.price) < before


def test_the_cost_is_penalty_times_bits():
    rounded = penalised(net(), price=0.5)
    rates = sum(latent.rate().detach() for _, latent in rounded.items())
    assert torch.allclose(rounded.cost().detach(), 0.5 * rates)
