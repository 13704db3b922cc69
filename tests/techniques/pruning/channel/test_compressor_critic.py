import pytest
import torch
from tests.techniques.pruning.conftest import SEEDS, Chance
from tests.training.conftest import MemoryStore
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, InterruptedRunError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.channel.compressor_critic import CompressorCritic

QUICK = {"game_epochs": 6, "compressor_rate": 3e-3, "stages": 10}


def test_units_that_nothing_reads_fall_first(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    images.context().finetune(model, Finetuning(epochs=3, learning_rate=1e-2))
    mask = torch.ones(10, 24, dtype=torch.bool)
    mask[:, ::2] = False
    attach(model, {"3.weight": Sparse.of(model[3].weight.detach(), mask)})
    context = images.context()
    known = anatomy(model, context.example)
    found = CompressorCritic(game_epochs=12, compressor_rate=1e-2).scores(model, known, [known.group("1")], context)[0]
    assert float(found[1::2].mean()) > float(found[::2].mean()) + 0.2
    assert int((found.argsort()[:12] % 2 == 0).sum()) >= 10
    assert bool((model[3].weight[:, ::2] == 0).all())  # training kept what was frozen


def test_what_was_learned_beats_chance_on_the_same_network(images):
    found = []
    for seed in SEEDS[:1]:
        context, model = images.context(seed), images.trained("plain", seed)
        cut = CompressorCritic(ratio=0.5, **QUICK).apply(model, context)  # `model` itself is the trained critic
        lots = Chance(ratio=0.5, scope="global").apply(model, images.context(seed))
        found.append((images.accuracy(cut), images.accuracy(lots)))
        assert context.details["reached"] == pytest.approx(0.5)
    assert all(ours > chance + 0.1 and ours > 0.85 for ours, chance in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "gain", "least"), [("plain", 0.3, 0.93), ("residual", 0.3, 0.7), ("lstm", 0.2, 0.5)]
)
def test_three_networks_over_three_seeds(images, network, gain, least):
    ours = images.mean(CompressorCritic(ratio=0.5), network)
    assert ours > least
    assert ours > images.mean(Chance(ratio=0.5), network) + gain


def test_a_run_that_was_stopped_ends_alike(images):
    settings = CompressorCritic(ratio=0.4, **(QUICK | {"game_epochs": 1.0}))
    whole = settings.apply(images.trained("plain"), images.context())
    store = MemoryStore(InterruptedRunError, after=12)
    with pytest.raises(InterruptedRunError, match="of 22 training steps"):
        settings.apply(images.trained("plain"), images.context(run=store))
    store.stop = None
    again = settings.apply(images.trained("plain"), images.context(run=store))
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_nothing_of_the_game_is_left_behind(images):
    model, context = images.trained("lstm"), images.context()
    keys = list(model.state_dict())
    cut = CompressorCritic(ratio=0.25, **(QUICK | {"game_epochs": 0.2})).apply(model, context)
    for network in (model, cut):
        assert list(network.state_dict()) == keys
        assert not any(module._forward_hooks or "forward" in module.__dict__ for module in network.modules())
        assert encodings_of(network) == {}
    assert cut.rnn.hidden_size == 24
    assert 0 <= context.details["threshold"] <= 0.825


def test_without_a_ratio_nothing_is_done(images):
    model = images.trained("plain")
    before = [tensor.clone() for tensor in model.state_dict().values()]
    assert CompressorCritic(ratio=0.0).apply(model, images.context()) is model
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"game_epochs": 0.0},
        {"game_rate": 0.0},
        {"compressor_rate": -1.0},
        {"width": 0},
        {"stages": 0},
        {"start": 1.0},
        {"recurrent_start": 0.0},
        {"threshold": 1.5},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CompressorCritic(**wrong)
