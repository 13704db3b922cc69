import copy

import pytest
import torch
from tests.techniques.pruning.conftest import Chance
from tests.training.conftest import MemoryStore
from torch import nn

from featherweight.errors import ConfigError, TechniqueError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.channel.network_slimming import NetworkSlimming

SPARSE = {"penalty": 0.1, "sparsity_epochs": 6.0, "sparsity_rate": 7.0}  # quick: digits are few


class Lent:
    """A context that keeps what training was asked for."""

    def __init__(self, context):
        self.context, self.extra, self.epochs = context, [], []

    def __getattr__(self, name):
        return getattr(self.context, name)

    def finetune(self, model, settings, *, extra_loss=None, on_step=None):
        self.extra.append(extra_loss)
        self.epochs.append(settings.epochs)
        return self.context.finetune(model, settings, extra_loss=extra_loss, on_step=on_step)


def gammas(model):
    found = [m.weight.detach().abs() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.cat(found)


def test_scales_gather_at_zero_with_the_penalty_and_not_without(images):
    small = {}
    for penalty in (0.0, 0.1):
        model = images.trained("plain")
        settings = NetworkSlimming(ratio=0.01, **(SPARSE | {"penalty": penalty}), floor=0.0)
        settings.apply(model, images.context())
        small[penalty] = float((gammas(model) < 0.02).float().mean())
    assert small[0.0] == 0.0
    assert small[0.1] > 0.3


def test_dead_channels_go_for_nothing(images):
    model, context = images.trained("plain"), images.context()
    settings = NetworkSlimming(ratio=0.2, **SPARSE, repair="none")
    cut = settings.apply(model, context)  # the model itself was trained, the cut is a copy
    assert float((gammas(model) < 0.01).float().mean()) > 0.2
    dead = [model[1].weight.detach().abs() < 0.01, model[4].weight.detach().abs() < 0.01]
    assert images.accuracy(cut) == pytest.approx(images.accuracy(model), abs=0.01)
    removed = 56 - cut[1].num_features - cut[4].num_features
    assert removed == pytest.approx(0.2 * 56, abs=1)
    assert removed <= int(dead[0].sum() + dead[1].sum())


def test_cut_equals_masked_where_scale_and_shift_are_zero(images):
    model, context = images.trained("plain").eval(), images.context()
    cut = NetworkSlimming(ratio=0.4, sparsity_epochs=0, repair="none").apply(model, context)
    masked = copy.deepcopy(model)
    kept = {row.numpy().tobytes() for row in cut[0].weight.detach()}
    with torch.no_grad():
        for place, row in enumerate(model[0].weight):
            if row.numpy().tobytes() not in kept:
                masked[1].weight[place] = masked[1].bias[place] = 0
        left = set(cut[4].weight.tolist())
        for place, value in enumerate(model[4].weight.tolist()):
            if value not in left:
                masked[4].weight[place] = masked[4].bias[place] = 0
    assert torch.allclose(cut.eval()(images.inputs[:50]), masked(images.inputs[:50]), atol=1e-5)


def test_the_penalty_moves_the_gradient_of_scales_alone(images):
    model, lent = images.trained("plain"), Lent(images.context())
    NetworkSlimming(ratio=0.01, penalty=0.25, sparsity_epochs=0.1).apply(model, lent)
    before = {name: item.detach().clone() for name, item in model.named_parameters()}
    names = ["1.weight", "4.weight"]
    model.zero_grad()
    lent.extra[0](model).backward()
    for name, item in model.named_parameters():
        if name in names:
            assert torch.equal(item.grad, 0.25 * before[name].sign())
        else:
            assert item.grad is None


def test_one_threshold_for_the_whole_network(images):
    model = images.trained("plain")
    with torch.no_grad():
        model[1].weight.copy_(torch.linspace(0.1, 0.2, 24))
        model[4].weight.copy_(torch.linspace(0.15, 1.0, 32))
    settings = NetworkSlimming(ratio=0.5, sparsity_epochs=0, repair="none", floor=0.0)
    cut = settings.apply(model, images.context())
    assert cut[1].num_features == 1  # all 24 are among the smallest 28, but a layer keeps at least one channel
    assert cut[4].num_features == 27
    assert float(cut[4].weight.detach().min()) > float(torch.linspace(0.15, 1.0, 32)[4])
    assert cut[8].out_features == 48  # no batch norm behind it


def test_from_scratch_scales_begin_at_one_half(images):
    model = images.fresh("residual")
    NetworkSlimming(ratio=0.1, sparsity_epochs=0, scratch=True, repair="none").apply(model, images.context())
    assert torch.equal(gammas(model), torch.full((112,), 0.5))
    assert all(float(model.get_submodule(name).bias.detach().abs().max()) == 0 for name in ("bn1", "an1", "bn_b2"))
    kept = images.trained("residual")
    before = gammas(kept)
    NetworkSlimming(ratio=0.1, sparsity_epochs=0, repair="none").apply(kept, images.context())
    assert torch.equal(gammas(kept), before)


def test_it_beats_chance(images):
    settings = NetworkSlimming(ratio=0.5, **SPARSE)
    assert images.mean(settings) > images.mean(Chance(ratio=0.5)) + 0.15
    assert images.mean(settings, "residual") > images.mean(Chance(ratio=0.5), "residual") + 0.2


def test_a_run_that_is_taken_up_ends_alike(images):
    settings, store = NetworkSlimming(ratio=0.5, penalty=0.01, sparsity_epochs=1.0, epochs=0.5), MemoryStore()
    one, other = (settings.apply(images.trained("plain"), images.context(run=store)) for _ in range(2))
    fresh = settings.apply(images.trained("plain"), images.context())
    for a, b, c in zip(*(item.state_dict().values() for item in (one, other, fresh)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("name", ["lstm", "attention"])
def test_without_batch_norms_it_says_so(images, name):
    with pytest.raises(TechniqueError, match="batch norm"):
        NetworkSlimming().apply(images.fresh(name), images.context())


@pytest.mark.parametrize(
    "wrong",
    [{"penalty": -1.0}, {"sparsity_epochs": -1.0}, {"sparsity_rate": 0.0}, {"select": True, "of": "macs"}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NetworkSlimming(**wrong)


def test_the_groups_are_those_with_a_norm(images):
    model = images.fresh("plain")
    known = anatomy(model, images.inputs[:2])
    assert [group.name for group in NetworkSlimming().prunable(model, known)] == ["0", "3"]
