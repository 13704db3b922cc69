import copy

import pytest
import torch
from torch import nn

from featherweight.errors import ConfigError
from featherweight.graph.log import log_of, replay
from featherweight.techniques.representation.low_rank.cp import Cp

IMAGES = torch.randn(2, 6, 9, 8, generator=torch.Generator().manual_seed(1))


def applied(lender, model, example=IMAGES, **settings):
    context = lender(model, example)
    return Cp(**({"epochs": 0} | settings)).apply(copy.deepcopy(model), context), context.details


def planted(conv, rank=3):
    """The layer with a kernel of a few terms."""
    torch.manual_seed(0)
    sizes = conv.weight.shape
    kernel = torch.randn(sizes[0], rank)
    for size in sizes[1:]:
        kernel = torch.einsum("...r,sr->...sr", kernel, torch.randn(size, rank))
    with torch.no_grad():
        conv.weight.copy_(kernel.sum(-1))
    return nn.Sequential(conv)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(6, 8, 5, stride=2, padding=2),
        nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1),
        nn.Conv2d(6, 8, (5, 3), padding="same", dilation=(1, 2), padding_mode="circular", bias=False),
        nn.Conv2d(6, 8, (1, 3), padding=(0, 2)),
        nn.Conv2d(6, 8, (1, 3), stride=(2, 1)),
        nn.Conv3d(6, 8, (2, 3, 2), padding=(1, 0, 1)),
    ],
    ids=["1d", "stride", "same", "row", "row-stride", "3d"],
)
def test_a_planted_kernel_is_the_same_layer(lender, conv):
    example = torch.randn(2, 6, *(9, 8, 7)[: len(conv.kernel_size)], generator=torch.Generator().manual_seed(1))
    model = planted(conv)
    made, details = applied(lender, model, example, rank=3, starts=10)
    assert details["ranks"] == {"0": [[3]]}
    scale = float(model(example).detach().abs().max())
    assert torch.allclose(made(example), model(example), atol=1e-5 * scale)
    assert [item.bias is None for item in made[0]][:-1] == [True] * (len(made[0]) - 1)


def test_each_axis_has_its_layer_of_mixtures_alone(lender):
    made, _ = applied(lender, planted(nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1)), rank=3)
    into, tall, wide, out = made[0]
    assert into.weight.shape == (3, 6, 1, 1) and out.weight.shape == (8, 3, 1, 1)
    assert (tall.weight.shape, tall.stride, tall.padding, tall.groups) == ((3, 1, 3, 1), (2, 1), (1, 0), 3)
    assert (wide.weight.shape, wide.stride, wide.padding, wide.groups) == ((3, 1, 1, 3), (1, 1), (0, 1), 3)


def test_every_layer_keeps_the_same_share_of_a_budget(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1))
    made, details = applied(lender, model, of="parameters", keep=0.3, sweeps=5, starts=1)
    share = sum(item.numel() for item in made.parameters()) / sum(item.numel() for item in model.parameters())
    assert 0.28 <= share <= 0.3
    gains = [gain["storage"] for gain in details["gains"].values()]
    assert gains[0] == pytest.approx(gains[1], rel=0.1)
    weights = sum(item.weight.numel() for item in made[2])
    ((rank,),) = details["ranks"]["2"]
    assert weights == rank * (32 + 3 + 3 + 48)


def test_more_terms_lose_less_and_the_log_replays(lender):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 16, 3))
    errors = []
    for rank in (1, 4, 12):
        made, _ = applied(lender, model, rank=rank)
        errors.append(float((made(IMAGES) - model(IMAGES)).detach().norm()))
        again = replay(copy.deepcopy(model), log_of(made))
        again.load_state_dict(made.state_dict())
        assert torch.equal(again(IMAGES), made(IMAGES))
    assert errors == sorted(errors, reverse=True)


def test_planted_terms_stand_out_of_noise(lender):
    model = planted(nn.Conv2d(24, 32, 3))
    with torch.no_grad():
        model[0].weight.add_(0.02 * torch.randn_like(model[0].weight))
    _, details = applied(lender, model, torch.randn(1, 24, 5, 5), of="automatic", keep=0.001)
    assert details["ranks"] == {"0": [[3]]}


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"sweeps": 0}, {"of": "energy"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Cp(**wrong)
