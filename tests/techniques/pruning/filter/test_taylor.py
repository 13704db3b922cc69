import copy
from dataclasses import replace

import pytest
import torch
from tests.techniques.pruning.conftest import Chance
from tests.training.conftest import MemoryStore
from torch import nn

from featherweight.core.context import Finetuning
from featherweight.core.examples import Batch
from featherweight.errors import ConfigError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.techniques.pruning.filter.taylor import Taylor


def spearman(one, other):
    ranks = torch.stack([values.argsort().argsort().double() for values in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def scores(technique, model, context, group="0"):
    known = anatomy(model, context.example)
    return technique.scores(model, known, [known.group(group)], context)[0]


@pytest.fixture(scope="module")
def reference(digits):
    """Appendix E6 of the catalogue: 300 hidden units of a network of three epochs, and what each is worth."""
    model = digits.fresh(0)
    digits.context().finetune(model, Finetuning(epochs=3, learning_rate=1e-3, final_learning_rate=1e-3))

    def loss(gated):
        with torch.no_grad():
            return nn.functional.cross_entropy(gated(digits.inputs).double(), digits.labels)

    changes = []
    for unit in range(300):
        gated = copy.deepcopy(model)
        with torch.no_grad():
            gated[2].weight[:, unit] = 0
        changes.append(abs(loss(gated) - loss(model)))
    return model, torch.stack(changes)


def test_it_ranks_as_true_ablation_does(digits, reference):
    model, changes = reference
    found = spearman(scores(Taylor(examples=1347, batch=1347), model, digits.context(batch_size=449)), changes)
    assert found > 0.9
    assert found > spearman(scores(Norm(norm="l2"), model, digits.context()), changes) + 0.3


def test_batches_are_pooled_to_the_size_that_is_asked(digits, reference):
    model, changes = reference
    pooled = spearman(scores(Taylor(examples=1347, batch=256), model, digits.context()), changes)
    single = spearman(scores(Taylor(examples=1347, batch=1), model, digits.context()), changes)
    assert pooled > 0.8
    assert pooled > single + 0.1


def test_of_a_linear_loss_it_is_the_exact_change(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 10))
    context = images.context(batch_size=32)
    context.loss = lambda output, target: output.gather(1, target[:, None]).mean()
    found = scores(Taylor(examples=32, batch=32), model, context, "1")
    x, y = images.inputs[:32], images.labels[:32]
    for unit in range(12):
        cut = copy.deepcopy(model)
        with torch.no_grad():
            cut[2].weight[:, unit] = 0
            change = context.loss(model(x), y) - context.loss(cut(x), y)
        assert float(found[unit]) == pytest.approx(float(change) ** 2, rel=1e-3)


@pytest.mark.parametrize("criterion", ["gate", "activation"])
def test_a_scale_that_the_next_layer_takes_back_changes_nothing(images, criterion):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    scaled = copy.deepcopy(model)
    factors = torch.logspace(-1, 1, 12)
    with torch.no_grad():
        scaled[1].weight.mul_(factors[:, None])
        scaled[1].bias.mul_(factors)
        scaled[3].weight.div_(factors)
    settings = Taylor(criterion=criterion, examples=32)
    before, after = (scores(settings, item, images.context(), "1") for item in (model, scaled))
    assert torch.allclose(before, after, rtol=1e-3)
    norms = [scores(Norm(norm="l2"), item, images.context(), "1") for item in (model, scaled)]
    assert spearman(*norms) < 0.9


def test_signs_of_examples_do_not_cancel_in_the_form_of_2017(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False), nn.Linear(2, 10, bias=False))
    context = images.context(batch_size=2)
    twice = Batch((images.inputs[:1].repeat(2, 1, 1, 1),), torch.tensor([1.0, -1.0]))
    context.batches = lambda split, limit: iter([twice])
    context.loss = lambda output, target: (output[:, 0] * target).mean()
    assert float(scores(Taylor(examples=2, batch=1), model, context, "1").abs().max()) < 1e-12
    assert float(scores(Taylor(examples=2, criterion="activation"), model, context, "1").norm()) == pytest.approx(1)


def test_a_stream_is_divided_by_its_layers_and_costly_channels_go_first(images):
    model, context = images.trained("residual"), images.context()
    known = anatomy(model, context.example)
    groups = [known.group("conv1"), known.group("a1")]
    stream, inner = Taylor().scores(model, known, groups, context)
    assert float(stream.sum()) > 0
    free = Taylor(criterion="activation", examples=16).scores(model, known, groups, context)
    taxed = Taylor(criterion="activation", examples=16, flops=100.0).scores(model, known, groups, context)
    costs = [float((a - b)[0]) for a, b in zip(free, taxed, strict=True)]
    assert costs[0] > costs[1] > 0
    own = Taylor().scores(model, known, [groups[0]], context)[0]
    assert torch.equal(own, stream)
    assert float(inner.min()) >= 0


def test_rounds_take_a_few_channels_each(images):
    context = images.context()
    settings = Taylor(ratio=0.5, count=13, interval=2, examples=64)
    model = settings.apply(images.trained("plain"), context)
    removed = context.details["removed"]
    assert sum(before - after for before, after in removed.values()) == 52
    assert context.details["reached"] == pytest.approx(0.5)
    assert context._calls == 4  # 52 channels, 13 at a time, with training behind each round
    assert [model[0].out_channels, model[3].out_channels, model[8].out_features] == [b for _, b in removed.values()]


@pytest.mark.parametrize("network", ["residual", "concat", "attention", "lstm"])
def test_rounds_meet_the_budget_of_the_whole(images, network):
    context = images.context()
    settings = Taylor(ratio=0.4, of="parameters", count=8, interval=1, examples=64)
    model = settings.apply(images.fresh(network), context)
    before = sum(parameter.numel() for parameter in images.fresh(network).parameters())
    after = sum(parameter.numel() for parameter in model.parameters())
    assert 1 - after / before == pytest.approx(0.4, abs=0.02)
    assert context.details["reached"] == pytest.approx(1 - after / before, abs=1e-9)


def test_a_run_that_was_stopped_ends_alike(images):
    settings = Taylor(ratio=0.4, count=10, interval=2, examples=64, epochs=0.2)
    whole = settings.apply(images.trained("plain"), images.context())
    store = MemoryStore()
    settings.apply(images.trained("plain"), images.context(run=store))
    again = settings.apply(images.trained("plain"), images.context(run=store))
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_it_beats_chance(images):
    once = Taylor(ratio=0.5, schedule="one_shot")
    assert images.mean(once, "residual") > images.mean(Chance(ratio=0.5), "residual") + 0.2
    absolute = replace(once, criterion="activation", examples=128)
    assert images.mean(absolute, "residual") > images.mean(Chance(ratio=0.5), "residual") + 0.2


def test_a_few_at_a_time_keeps_nearly_all(images):
    gradual = Taylor(ratio=0.5, count=13, interval=5, learning_rate=0.5)
    assert images.mean(gradual) > 0.93
    assert images.mean(gradual) > images.mean(Chance(ratio=0.5)) + 0.3


@pytest.mark.parametrize(
    "wrong", [{"interval": 0}, {"count": 0}, {"examples": 0}, {"batch": 0}, {"momentum": 1.0}, {"flops": -1.0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Taylor(**wrong)
