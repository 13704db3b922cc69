import copy

import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError
from featherweight.graph.log import Log, log_of, replay
from featherweight.profiling.macs import Macs
from featherweight.techniques.representation.low_rank.asymmetric import Asymmetric
from featherweight.techniques.representation.low_rank.svd import Svd

FAST = {"rounds": 10, "examples": 200}


def applied(images, technique):
    context = images.context(train=False)
    return technique.apply(images.dense(), context), context.details


def differs(images, model):
    """How far the logits of held-out digits are from the dense network's, relative."""
    with torch.no_grad():
        wanted = images.dense()(images.held)
        return float((model(images.held) - wanted).norm() / wanted.norm())


def macs(model, example):
    return Macs().measure(model.eval(), (example,)).value


@pytest.mark.parametrize("keep", [0.25, 0.35])
def test_at_equal_multiply_adds_looking_at_answers_beats_plain_svd(images, keep):
    plain, _ = applied(images, Svd(keep=keep, epochs=0))
    thin, details = applied(images, Asymmetric(keep=keep, form="channel", **FAST))
    example = images.held[:1]
    whole = macs(images.dense(), example)
    for model in (plain, thin):
        assert keep - 0.03 <= macs(model, example) / whole <= keep
    assert details["relu"] and differs(images, thin) < 0.5 * differs(images, plain)
    assert images.accuracy(thin) > images.accuracy(plain)


def test_what_the_cut_network_reads_matters_and_so_does_the_relu(images):
    found = {}
    for rounds in (0, 10):
        for asymmetric in (True, False):
            technique = Asymmetric(keep=0.3, form="channel", asymmetric=asymmetric, rounds=rounds, examples=300)
            found[rounds, asymmetric] = differs(images, applied(images, technique)[0])
    assert found[10, True] < 0.7 * found[10, False]  # errors of four layers do not add up
    assert found[0, True] < 0.7 * found[0, False]
    assert found[10, False] < found[0, False]
    assert found[10, True] < 1.02 * found[0, True]


def test_splitting_the_plane_too_is_better_at_few_multiply_adds(images):
    two, _ = applied(images, Asymmetric(keep=0.15, form="channel", **FAST))
    three, details = applied(images, Asymmetric(keep=0.15, form="spatial", **FAST))
    assert differs(images, three) < differs(images, two)
    assert {path: len(ranks) for path, (ranks,) in details["ranks"].items()} == {
        path: 1 if path == "11" else 2 for path in details["ranks"]
    }
    columns, rows, back = three[2]
    assert (columns.kernel_size, rows.kernel_size, back.kernel_size) == ((3, 1), (1, 3), (1, 1))
    assert columns.bias is None and rows.bias is None and back.bias is not None


def whole_ranks(monkeypatch):
    """Full ranks, although they cost more than the layers."""
    module = "featherweight.techniques.representation.low_rank._settings.choose"
    monkeypatch.setattr(module, lambda wish, parts, fixed: [part.full for part in parts])


@pytest.mark.parametrize("form", ["channel", "spatial"])
@pytest.mark.parametrize("rounds", [0, 3])
def test_full_rank_changes_nothing(images, monkeypatch, form, rounds):
    whole_ranks(monkeypatch)
    made, details = applied(images, Asymmetric(form=form, rounds=rounds, examples=300))
    assert len(details["ranks"]) == 5
    assert differs(images, made) < 1e-5


def with_norms():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 16, 3, padding="same"),
        nn.Flatten(),
        nn.Linear(256, 5),
    ).eval()
    for norm in (model[1], model[4]):
        with torch.no_grad():
            norm.weight.copy_(torch.randn(norm.num_features))  # scales of both signs, as training leaves them
            norm.bias.copy_(torch.randn(norm.num_features))
            norm.running_mean.copy_(0.3 * torch.randn(norm.num_features))
            norm.running_var.copy_(torch.rand(norm.num_features) + 0.2)
    with torch.no_grad():
        model[4].weight[3] = 0.0
    return model


INPUTS = torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def lent(lender, model):
    return lender(model, INPUTS[:2], calibration=(INPUTS, torch.zeros(400, dtype=torch.int64)))


def test_batch_norms_are_seen_through(lender, monkeypatch):
    whole_ranks(monkeypatch)
    model = with_norms()
    context = lent(lender, model)
    made = Asymmetric(rounds=2, examples=400).apply(copy.deepcopy(model), context)
    assert context.details["relu"] == ["0", "3"]
    assert torch.equal(made[1].weight, model[1].weight)
    assert torch.allclose(made(INPUTS), model(INPUTS), atol=2e-2)


def test_layers_behind_norms_are_fitted_as_the_relu_sees_them(lender):
    model = with_norms()
    found = {}
    for rounds in (0, 15):
        technique = Asymmetric(rank=4, layers=("3",), form="channel", rounds=rounds, examples=400)
        made = technique.apply(copy.deepcopy(model), lent(lender, model))
        with torch.no_grad():
            found[rounds] = float((made[:6](INPUTS) - model[:6](INPUTS)).square().sum())
    assert found[15] < found[0]


def test_the_log_makes_the_structure_anew_in_one_step(images):
    made, _ = applied(images, Asymmetric(keep=0.3, **FAST))
    assert len(log_of(made).steps) == 1
    again = replay(images.fresh(), Log.from_json(log_of(made).to_json())).eval()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(images.held), made.eval()(images.held))


def test_needs_no_labels_and_leaves_the_mode(images):
    context = images.context(train=False)
    model = images.dense().train()
    made = Asymmetric(keep=0.4, **FAST).apply(model, context)
    assert all(module.training for module in made.modules())
    assert all(parameter.grad is None for parameter in made.parameters())


def test_the_same_seed_gives_the_same_bits(images):
    one, other = (applied(images, Asymmetric(keep=0.3, rounds=3, examples=100))[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "wrong", [{"examples": 1}, {"positions": 0}, {"rounds": -1}, {"of": "automatic"}, {"keep": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Asymmetric(**wrong)
