import copy

import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError
from featherweight.graph.log import Log, log_of, replay
from featherweight.numerics.factor import bicluster, monochromatic
from featherweight.profiling.macs import Macs
from featherweight.techniques.representation.low_rank.denton import Denton, blocks, coloured

IMAGES = torch.randn(2, 8, 9, 8, generator=torch.Generator().manual_seed(1))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def applied(lender, model, example=IMAGES, **settings):
    context = lender(model, example)
    return Denton(**({"epochs": 0} | settings)).apply(copy.deepcopy(model), context), context.details


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ranks", [(6, 4), (3, 2)])
def test_the_chain_of_blocks_is_the_kernel_that_they_stand_for(bias, ranks):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 18, 3, stride=2, padding=1, bias=bias)
    found = bicluster(conv.weight.detach(), (2, 3), ranks, generator())
    chain = blocks(conv, found)
    wanted = copy.deepcopy(conv)
    with torch.no_grad():
        wanted.weight.copy_(found.kernel())
    assert torch.allclose(chain(IMAGES), wanted(IMAGES), atol=1e-5)
    if ranks == (6, 4):  # of a block: all there are
        assert torch.allclose(chain(IMAGES), conv(IMAGES), atol=1e-5)


def test_the_grouped_filters_are_the_kernel_and_in_their_order():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 12, 5, padding=2, stride=(1, 2))
    found = monochromatic(conv.weight.detach(), 4, generator())
    images = torch.randn(2, 3, 9, 8)
    wanted = copy.deepcopy(conv)
    with torch.no_grad():
        wanted.weight.copy_(found.kernel())
    chain = coloured(conv, found)
    assert torch.allclose(chain(images), wanted(images), atol=1e-5)
    assert chain[1].groups == 4 and chain[1].weight.shape == (12, 1, 5, 5)


def first_layer():
    torch.manual_seed(0)
    colours = torch.randn(6, 3)[torch.randperm(96) % 6]
    model = nn.Sequential(nn.Conv2d(3, 96, 5), nn.ReLU(), nn.Conv2d(96, 4, 1))
    with torch.no_grad():
        model[0].weight.copy_(colours[:, :, None, None] * torch.randn(96, 1, 5, 5))
    return model


def test_planted_colours_leave_the_network_as_it_was(lender):
    model, images = first_layer(), torch.randn(2, 3, 9, 9)
    made, details = applied(lender, model, images, rank=6)
    assert details["ranks"] == {"0": [[6]]}
    assert torch.allclose(made(images), model(images), atol=1e-4)
    weights = sum(item.weight.numel() for item in made[0] if isinstance(item, nn.Conv2d))
    assert weights == 3 * 6 + 25 * 96
    assert details["gains"]["0"]["storage"] == pytest.approx(3 * 25 * 96 / weights)


@pytest.mark.parametrize("form", ["blocks", "terms"])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_budget_is_met(lender, form, keep):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(8, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3)
    )
    made, _ = applied(lender, model, form=form, keep=keep, starts=1)
    share = Macs().measure(made, (IMAGES,)).value / Macs().measure(model, (IMAGES,)).value
    assert keep - 0.08 <= share <= keep
    again = replay(copy.deepcopy(model), Log.from_json(log_of(made).to_json()))
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(IMAGES), made(IMAGES))


def test_terms_are_one_place_each_place_and_back(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 10, 3, stride=2, padding=1))
    terms = torch.einsum("or,ir,hwr->oihw", torch.randn(10, 3), torch.randn(8, 3), torch.randn(3, 3, 3))
    with torch.no_grad():
        model[0].weight.copy_(terms)
    made, _ = applied(lender, model, form="terms", rank=3, starts=6)
    assert torch.allclose(made(IMAGES), model(IMAGES), atol=1e-3)
    weights = sum(item.weight.numel() for item in made[0])
    assert weights == 3 * (8 + 9 + 10)


def test_more_ranks_lose_less(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 3))
    errors = []
    for rank in (1, 2, 4, 6):
        made, _ = applied(lender, model, rank=rank)
        errors.append(float((made(IMAGES) - model(IMAGES)).detach().norm()))
    assert errors == sorted(errors, reverse=True)


def test_clusters_that_do_not_divide_give_way_to_the_next_that_do(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 15, 3))
    made, _ = applied(lender, model, rank=2, clusters=(3, 4))
    assert [item.groups for item in made[0] if isinstance(item, nn.Conv2d)] == [2, 6, 3]


def test_what_lies_before_is_frozen_while_the_rest_is_trained(images, monkeypatch):
    context = images.context()
    seen = []
    own = context.finetune

    def watched(model, settings, **more):
        seen.append({name for name, parameter in model.named_parameters() if parameter.requires_grad})
        return own(model, settings, **more)

    monkeypatch.setattr(context, "finetune", watched)
    model = Denton(keep=0.5, epochs=1, starts=1, layers=("2", "5")).apply(images.dense(), context)
    assert len(seen) == 2
    assert not any(name.startswith(("0.", "2.")) for name in seen[0]) and any(name[0] == "5" for name in seen[0])
    assert not any(name.startswith(("0.", "2.", "5.")) for name in seen[1]) and "7.weight" in seen[1]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_training_what_lies_behind_repairs(images):
    cut = Denton(keep=0.4, epochs=0, starts=2).apply(images.dense(), images.context())
    tuned = Denton(keep=0.4, epochs=3, starts=2, learning_rate=0.5).apply(images.dense(), images.context())
    assert images.accuracy(tuned) > images.accuracy(cut)


def test_what_was_frozen_stays_frozen(images):
    model = images.dense()
    model[2].weight.requires_grad_(False)
    made = Denton(keep=0.5, epochs=0.1, starts=1).apply(model, images.context())
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in made.named_parameters() if name.startswith("2.") and "weight" in name}


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"clusters": (0, 2)}, {"colours": -1}, {"of": "energy"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Denton(**wrong)
