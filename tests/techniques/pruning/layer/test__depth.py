"""The budget that blocks are taken out for."""

import pytest
import torch
from tests.techniques.pruning.layer.conftest import deep, toy
from torch import Tensor, nn

import featherweight as fw
from featherweight.graph.blocks import Block, StandIn
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.layer._depth import _apart
from featherweight.techniques.pruning.layer.block_removal import BlockRemoval


def test_only_what_brings_nearer_may_go():
    model = deep(width=4, wide=16)
    choices = BlockRemoval(ratio=0.3, of="parameters").choices(model, toy(model))
    small, large = 2 * (16 * 9 + 2 * 4), 2 * (256 * 9 + 2 * 16)
    assert choices.savings == (small,) * 3 + (large,) * 3
    assert choices.target == 0.3 * sum(parameter.numel() for parameter in model.parameters())
    assert choices.nearer([]) == [0, 1, 2, 3, 4, 5]
    assert set(choices.nearer([3])) <= {0, 1, 2}, "a second large one goes too far"
    assert choices.saved([0, 4]) == small + large


def test_multiply_adds_are_those_that_really_go():
    model = deep()
    context = toy(model)
    choices = BlockRemoval(ratio=0.5, of="macs").choices(model, context)
    technique = BlockRemoval(ratio=0.5, of="macs", repair="none", examples=16)
    technique.apply(model, context)
    gone = [number for number, block in enumerate(choices.blocks) if block.path in context.details["removed"]]
    assert abs(context.details["reached"] - choices.saved(gone) / choices.whole) < 1e-12


class Layer(nn.Module):
    """Two branches in one forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.up, self.down = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(x)
        return x + self.down(torch.relu(self.up(self.norm(x))))


def layered() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), Layer(4), Layer(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize("of", ["macs", "parameters"])
def test_branches_go_one_by_one_and_what_they_cost_is_what_is_saved(of, tmp_path):
    model = layered()
    context = toy(model)
    technique = BlockRemoval(ratio=0.3, of=of, examples=32, steps=4)
    choices = technique.choices(model, context)
    assert choices.paths(range(4)) == ["1.mix", "1.down", "2.mix", "2.down"]
    pruned = technique.apply(model, context)
    gone = [number for number, block in enumerate(choices.blocks) if block.path in context.details["removed"]]
    assert gone
    assert abs(context.details["reached"] - choices.saved(gone) / choices.whole) < 1e-9
    fw.save(pruned, tmp_path / "pruned.fwt", example=context.example)
    x = torch.randn(3, 1, 6, 6)
    again = fw.load(tmp_path / "pruned.fwt", into=layered())
    assert type(again[1]) is Layer
    assert torch.equal(again.eval()(x), pruned.eval()(x))
    assert torch.equal(fw.load(tmp_path / "pruned.fwt")(x), pruned(x)), "as a graph without the class"


def test_channels_go_as_before_where_branches_went():
    model = layered()
    context = toy(model)
    known = {group.name: len(group) for group in anatomy(model, context.example).groups}
    BlockRemoval(ratio=0.3, repair="none", examples=16).apply(model, context)
    left = {group.name: len(group) for group in anatomy(model, context.example).groups}
    assert left.items() <= known.items()
    assert "0" in left, "the stream"


@pytest.mark.parametrize("keep", ["1.up", "1.down", "*.norm"])
def test_what_is_to_stay_holds_the_branch_that_it_is_in(keep):
    model = layered()
    choices = BlockRemoval(keep=(keep,)).choices(model, toy(model))
    assert set(choices.left_whole) == ({"1.down", "2.down"} if keep == "*.norm" else {"1.down"})


def test_whole_layers_can_be_asked_for():
    model = layered()
    choices = BlockRemoval(blocks=("1*", "2*")).choices(model, toy(model))
    assert choices.paths(range(2)) == ["1", "2"]


def test_blocks_that_share_a_module_are_not_taken_both():
    parts = [
        (),
        (("a", StandIn()),),
        (("a.b", StandIn()), ("c", StandIn())),
        (("c.d", StandIn()),),
        (("e", StandIn()),),
    ]
    blocks = [Block(str(place), (str(place),), "", (1,), 1, 1, True, part) for place, part in enumerate(parts)]
    assert [block.path for block in _apart(blocks)] == ["0", "1", "3", "4"]
