import math

import pytest
import torch
from torch import nn

from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.channel._gates import Gates
from featherweight.techniques.pruning.channel._posterior import Posterior


def made(model, example, prior="jeffreys", speed=10.0, spread=1e-2, kept=None):
    known = anatomy(model, example)
    gates = Gates(model, known, [known.group("0")])
    found = Posterior(model, gates, prior, speed=speed, spread=spread, kept=kept or {})
    found.random.manual_seed(0)
    return found


def small(kind="linear"):
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(2, 6)
    layers = (
        nn.Conv2d(2, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 3, 3, stride=2, padding_mode="circular", padding=1),
    )
    return nn.Sequential(*layers), torch.randn(2, 2, 6, 6)


def fill(posterior, log_variance):
    with torch.no_grad():
        for parameter in posterior.log_variances.values():
            parameter.fill_((log_variance + 9) / 10)


@pytest.mark.parametrize("prior", ["jeffreys", "horseshoe"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_without_variance_it_is_the_network(prior, kind):
    model, x = small(kind)
    expected = model(x)
    posterior = made(model, x, prior)
    with torch.no_grad():
        for item in [*posterior.log_variances.values(), *posterior.scales, posterior.shared]:
            (item[1::2] if item is posterior.shared or any(item is s for s in posterior.scales) else item).fill_(-4)
    with posterior.on():
        torch.testing.assert_close(posterior(x), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(model(x), expected)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_local_reparametrization_has_the_moments_of_drawn_weights_and_scales(kind):
    model, x = small(kind)
    layer, count = model[0], 4000
    posterior = made(model, x)
    fill(posterior, math.log(0.05))
    with torch.no_grad():
        posterior.scales[0][1].fill_((math.log(0.09) + 9) / 10)  # z ~ N(1, 0.3^2)
    seen = []
    with posterior.on(), torch.no_grad():
        handle = layer.register_forward_hook(lambda *given: seen.append(given[2]))
        posterior(x[:1].repeat(count, *(1,) * (x.dim() - 1)))
        handle.remove()
    drawn, one = [], x[:1]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(count):
            tensors = {
                name: tensor + 0.05**0.5 * torch.randn(tensor.shape, generator=generator)
                for name, tensor in layer.named_parameters()
            }
            z = 1 + 0.3 * torch.randn(5, generator=generator)
            out = torch.func.functional_call(layer, tensors, (one,))
            drawn.append(out * z.view(1, -1, *(1,) * (out.dim() - 2)))
    expected, found = torch.cat(drawn), seen[0]
    scale = float(expected.std())
    torch.testing.assert_close(found.mean(0), expected.mean(0), rtol=0.1, atol=0.1 * scale)
    torch.testing.assert_close(found.var(0), expected.var(0), rtol=0.2, atol=0.02 * scale)


def test_scales_are_drawn_for_each_example_and_are_means_in_evaluation():
    model, x = small()
    posterior = made(model, x)
    with torch.no_grad():
        posterior.scales[0][1].fill_(0.8)
    with posterior.on(), torch.no_grad():
        posterior(x[:1].repeat(50, 1))
        assert len(torch.unique(posterior._gates.values[0], dim=0)) == 50
        posterior.eval()
        assert torch.equal(posterior(x), model(x))


@pytest.mark.parametrize("prior", ["jeffreys", "horseshoe"])
def test_the_divergence_of_the_scales_prefers_noise_and_reaches_all_parameters(prior):
    model, x = small()
    posterior = made(model, x, prior)
    before = posterior.divergence()
    before.backward()
    learned = [*posterior.log_variances.values(), *posterior.scales]
    assert all(item.grad is not None and bool((item.grad != 0).any()) for item in learned)
    assert bool((posterior.scales[0].grad[1] < 0).all())  # larger variances are cheaper
    assert math.isfinite(float(before.detach()))


def test_the_variance_of_the_first_layer_is_capped():
    model, x = small()
    posterior = made(model, x)
    fill(posterior, 0.0)
    posterior.cap(0.04)
    assert float(posterior.log_variance("0.weight").detach().max()) == pytest.approx(math.log(0.04), rel=1e-5)
    assert float(posterior.log_variance("2.weight").detach().max()) == pytest.approx(0.0, abs=1e-5)


def test_what_was_pruned_is_not_random():
    model, x = small()
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    posterior = made(model, x, kept={"0.weight": mask})
    assert torch.equal(posterior.variance("0.weight") != 0, mask)
    posterior.divergence().backward()
    assert torch.equal(posterior.log_variances["0/weight"].grad != 0, mask)
