import copy

import pytest
import torch
from torch import nn

from featherweight.errors import TechniqueError
from featherweight.graph.log import log_of, replay
from featherweight.numerics.factor import tucker
from featherweight.techniques.representation.low_rank.tucker import Tucker, three

IMAGES = torch.randn(2, 6, 9, 8, generator=torch.Generator().manual_seed(1))


def applied(lender, model, **settings):
    context = lender(model, IMAGES)
    return Tucker(**({"epochs": 0} | settings)).apply(copy.deepcopy(model), context), context.details


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, (3, 5), padding="same", dilation=(2, 1), padding_mode="replicate", bias=False),
        nn.Conv2d(6, 8, 3, padding=2),
    ],
    ids=["stride", "same", "wide"],
)
def test_full_ranks_change_nothing_and_the_core_does_what_the_layer_did(conv):
    chain = three(conv, tucker(conv.weight.detach(), (8, 6)))
    assert torch.allclose(chain(IMAGES), conv(IMAGES), atol=1e-5)
    first, core, last = chain
    assert (core.stride, core.padding, core.dilation) == (conv.stride, conv.padding, conv.dilation)
    assert first.kernel_size == last.kernel_size == (1, 1) and first.stride == last.stride == (1, 1)
    assert first.bias is None and core.bias is None and (last.bias is None) == (conv.bias is None)


def planted(ranks=(3, 2), noise=0.02):
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 32, 3, padding=1)
    core = torch.randn(*ranks, 3, 3)
    kernel = torch.einsum("oa,abhw,ib->oihw", torch.randn(32, ranks[0]), core, torch.randn(24, ranks[1]))
    with torch.no_grad():
        conv.weight.copy_(kernel + noise * torch.randn_like(kernel))
    return nn.Sequential(conv)


def test_planted_ranks_are_found_and_kept(lender):
    model = planted()
    images = torch.randn(2, 24, 7, 7)
    context = lender(model, images)
    made = Tucker(keep=0.01, epochs=0).apply(copy.deepcopy(model), context)
    assert context.details["ranks"] == {"0": [[3, 2]]}
    assert float((made(images) - model(images)).detach().norm() / model(images).detach().norm()) < 0.05
    weights = sum(item.weight.numel() for item in made[0])
    assert weights == 24 * 2 + 9 * 2 * 3 + 32 * 3
    assert context.details["gains"]["0"]["storage"] == pytest.approx(9 * 24 * 32 / weights)


def test_the_least_share_holds_where_all_is_noise(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(20, 40, 3))
    context = lender(model, torch.randn(1, 20, 7, 7))
    Tucker(keep=0.1, epochs=0).apply(model, context)
    ((outer, inner),) = context.details["ranks"]["0"]
    assert outer >= 4 and inner >= 2


def test_a_budget_meets_its_share(lender):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(6, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3)
    )
    made, _ = applied(lender, model, of="parameters", keep=0.3)
    share = sum(item.numel() for item in made.parameters()) / sum(item.numel() for item in model.parameters())
    assert 0.29 <= share <= 0.3
    again = replay(copy.deepcopy(model), log_of(made))
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(IMAGES), made(IMAGES))


def test_iterating_comes_nearer(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 16, 3, bias=False))
    lost = []
    for sweeps in (0, 25):
        made, _ = applied(lender, model, rank=4, sweeps=sweeps)
        first, core, last = made[0]
        kernel = torch.einsum("oa,abhw,bi->oihw", last.weight[:, :, 0, 0], core.weight, first.weight[:, :, 0, 0])
        lost.append(float((kernel - model[0].weight).detach().square().sum()))
    assert lost[1] < lost[0]


def test_one_place_and_groups_are_not_for_it(lender):
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 16, 3))
    _, details = applied(lender, model, rank=2)
    assert set(details["ranks"]) == {"2"} and set(details["whole"]) == {"0", "1"}
    with pytest.raises(TechniqueError, match="none of the layers"):
        applied(lender, nn.Sequential(nn.Flatten(), nn.Linear(432, 3)))


def test_finetuning_repairs(images):
    cut = Tucker(of="macs", keep=0.25, epochs=0).apply(images.dense(), images.context())
    tuned = Tucker(of="macs", keep=0.25, epochs=2, learning_rate=0.5).apply(images.dense(), images.context())
    assert images.accuracy(tuned) > images.accuracy(cut) - 0.01
    assert images.accuracy(tuned) > images.accuracy(images.dense()) - 0.05
