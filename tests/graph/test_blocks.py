"""Blocks: which modules can go as a whole, what they cost, what depth is counted in, and what stands for them."""

import copy

import pytest
import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph.blocks import blocks_of, chain, held, without
from featherweight.graph.layers import PassOn
from featherweight.graph.log import log_of, replay
from featherweight.graph.surgery import replace


class Basic(nn.Module):
    """relu(x + f(x)), with another width or stride where asked."""

    def __init__(self, width: int, out: int | None = None) -> None:
        super().__init__()
        out = out or width
        self.conv1, self.conv2 = nn.Conv2d(width, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.short = nn.Identity() if out == width else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.short(x) + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Gate(nn.Module):
    """Squeeze and excitation: multiplies, and adds nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


class Layer(nn.Module):
    """A layer of a transformer with a mask, which gives a tuple; the norm comes last."""

    kind = "full"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, 9), nn.Linear(9, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        return self.norm(x + self.down(torch.relu(self.up(x * mask)))), None


class Stack(nn.Module):
    def __init__(self, *layers: nn.Module, kinds: bool = False) -> None:
        super().__init__()
        self.layers, self.kinds = nn.ModuleList(layers), kinds

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            mask = torch.ones(x.shape[-1]) if not self.kinds or layer.kind == "full" else None
            x, _ = layer(x=x, mask=mask)
        return {"state": x}


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Sequential(Basic(4), Basic(4)),
        nn.Sequential(Basic(4, 6), Basic(6), Gate(6)),
        nn.ReLU(),
    )


def test_depth_is_counted_in_the_innermost_residual_blocks():
    found = blocks_of(resnet(), torch.randn(2, 1, 6, 6))
    assert [block.path for block in chain(found)] == ["1.0", "1.1", "2.1"]
    by_path = {block.path: block for block in found}
    assert by_path["1"].residual, "a stage of two is residual as well, and left for its blocks"
    assert by_path["1.0"].within == "1"
    assert by_path["1.0.conv2"].within == "1.0"
    assert not by_path["1.0.conv2"].residual
    assert not by_path["2.2"].residual, "a gate adds nothing"
    assert "2" not in by_path, "it changes the width"
    assert "2.0" not in by_path


def test_costs_are_those_of_the_block_alone():
    block = next(item for item in blocks_of(resnet(), torch.randn(2, 1, 6, 6)) if item.path == "2.1")
    assert block.shape == (2, 6, 6, 6)
    assert block.parameters == 2 * (6 * 6 * 9 + 6) + 2 * 12
    assert block.macs == 2 * (2 * 36) * 6 * 6 * 9


def test_without_residual_blocks_single_layers_count():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    assert [block.path for block in chain(blocks_of(model, torch.randn(1, 3)))] == ["1", "3"]


def test_layers_with_more_arguments_and_tuples_are_passed_by():
    model, x = Stack(Layer(4), Layer(4)), torch.randn(2, 3, 4)
    block = chain(blocks_of(model, x))[1]
    assert (block.path, block.plain, block.length, block.residual) == ("layers.1", False, 2, True)
    assert held(model, x, block) == ""
    expected = model.layers[0](x, torch.ones(4))[0]
    with without(model, [block]):
        assert isinstance(model.layers[1], PassOn)
        assert torch.equal(model(x)["state"], expected)
    assert isinstance(model.layers[1], Layer)


def test_what_code_reads_of_a_block_holds_it():
    model, x = Stack(Layer(4), Layer(4), kinds=True), torch.randn(2, 3, 4)
    assert "kind" in held(model, x, chain(blocks_of(model, x))[0])


def test_a_shared_block_goes_from_all_its_places():
    shared = Basic(4)
    model, x = nn.Sequential(shared, nn.ReLU(), shared), torch.randn(1, 4, 5, 5)
    block = chain(blocks_of(model, x))[0]
    assert block.names == ("0", "2")
    assert block.macs == 2 * 2 * 25 * 4 * 4 * 9, "both calls"
    fresh = copy.deepcopy(model)
    replace(model, {name: block.stand_in() for name in block.names})
    assert torch.equal(model(x), torch.relu(x))
    assert torch.equal(replay(fresh, log_of(model))(x), torch.relu(x))


def test_parameters_that_others_use_do_not_go():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert [block.parameters for block in chain(blocks_of(model, torch.randn(1, 4)))] == [4, 4]


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training):
    model = resnet().train(training)
    before = copy.deepcopy(model.state_dict())
    for block in blocks_of(model, torch.randn(2, 1, 6, 6)):
        held(model, torch.randn(2, 1, 6, 6), block)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_does_not_run_is_refused():
    with pytest.raises(TraceError, match="does not run"):
        blocks_of(resnet(), torch.randn(2, 7, 6, 6))
