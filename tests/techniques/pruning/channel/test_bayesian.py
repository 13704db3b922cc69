import pytest
import torch
from tests.techniques.pruning.conftest import Chance
from tests.training.conftest import MemoryStore
from torch import nn

from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.channel._gates import Gates
from featherweight.techniques.pruning.channel._posterior import Posterior
from featherweight.techniques.pruning.channel.bayesian import Bayesian, gap, variances_of

QUICK = {"posterior_epochs": 4.0, "speed": 20.0}


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def test_the_variance_is_that_of_scale_times_weight():
    model, x = mlp(), torch.randn(2, 64)
    known = anatomy(model, (x,))
    gates = Gates(model, known, [known.group("1")])
    posterior = Posterior(model, gates, "jeffreys", speed=10.0, spread=1e-5, kept={})
    with torch.no_grad():
        posterior.scales[0][0] = torch.linspace(-0.5, 0.5, 24)
        posterior.scales[0][1].fill_(0.7)
        posterior.log_variances["1/weight"].fill_(0.6)
    mean, variance = (item.detach() for item in posterior.scale(0))
    weight, own = model[1].weight.detach().clone(), posterior.log_variance("1.weight").detach().exp()
    with torch.no_grad():
        model[1].weight.mul_(mean[:, None])  # as fold leaves it
    found = variances_of(posterior, gates)
    generator = torch.Generator().manual_seed(0)
    z = mean + variance.sqrt() * torch.randn(20000, 24, generator=generator)
    w = weight[:, 3] + own[:, 3].sqrt() * torch.randn(20000, 24, generator=generator)
    torch.testing.assert_close(found["1.weight"][:, 3], (z * w).var(0), rtol=0.06, atol=0)
    assert bool((found["1.weight"] > own * mean[:, None] ** 2).all())  # more than that of q(w | z)
    torch.testing.assert_close(found["3.weight"], posterior.log_variance("3.weight").detach().exp())


@pytest.mark.parametrize("prior", ["jeffreys", "horseshoe"])
def test_units_that_nothing_reads_are_noise(images, prior):
    model, context = mlp(), images.context()
    mask = torch.ones(10, 24, dtype=torch.bool)
    mask[:, ::2] = False
    attach(model, {"3.weight": Sparse.of(model[3].weight.detach(), mask)})
    known = anatomy(model, context.example)
    settings = Bayesian(prior=prior, posterior_epochs=12, speed=20.0)
    noise = -settings.scores(model, known, [known.group("1")], context)[0]
    assert bool(torch.isfinite(noise).all())
    assert float(noise[::2].mean()) > float(noise[1::2].mean()) + 0.3
    assert int((noise.argsort()[12:] % 2 == 0).sum()) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["jeffreys", "horseshoe"])
def test_what_was_learned_beats_chance_over_three_seeds(images, prior):
    ours = images.mean(Bayesian(ratio=0.5, prior=prior))
    assert ours > images.mean(Chance(ratio=0.5)) + 0.2


def test_thresholds_are_of_each_group_and_bits_hold_the_rounded_weights(images):
    model, context = images.trained("plain"), images.context()
    cut = Bayesian(by="threshold", thresholds=(-8.0, 50.0), rounding=True, **QUICK).apply(model, context)
    removed = context.details["removed"]
    assert context.details["thresholds"] == [-8.0, 50.0, 50.0]
    assert removed["3"][0] == removed["3"][1]
    assert removed["8"][0] == removed["8"][1]
    held = encodings_of(cut)
    for name, (bits, exponent) in context.details["bits"].items():
        weight = cut.state_dict()[name]
        assert isinstance(held[name], Uniform)
        assert torch.equal(weight * 2.0**bits, (weight * 2.0**bits).round())
        assert 0 <= bits <= 23
        assert 0 <= exponent <= 8
    assert set(context.details["bits"]) == {"0.weight", "3.weight", "8.weight", "10.weight"}


def test_a_run_that_was_stopped_ends_alike(images):
    settings = Bayesian(ratio=0.4, **(QUICK | {"posterior_epochs": 0.5}))
    whole = settings.apply(images.trained("plain"), images.context())
    store = MemoryStore()
    settings.apply(images.trained("plain"), images.context(run=store))
    again = settings.apply(images.trained("plain"), images.context(run=store))
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_recurrent_units_have_no_posterior(images):
    with pytest.raises(TechniqueError, match="run by themselves"):
        Bayesian(**QUICK).apply(images.fresh("lstm"), images.context())


def test_the_widest_gap():
    assert gap(torch.tensor([1.0, 5.0, 1.5, 5.5])) == pytest.approx(3.25)


@pytest.mark.parametrize(
    "wrong", [{"spread": 0.0}, {"posterior_epochs": 0.0}, {"speed": -1.0}, {"warmup": 2.0}, {"cap": 0.0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Bayesian(**wrong)
