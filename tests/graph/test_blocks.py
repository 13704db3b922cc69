"""Blocks: which modules can go as a whole, what they cost, what depth is counted in, and what stands for them."""

import copy

import pytest
import torch
from torch import Tensor, nn

from featherweight.errors import TraceError
from featherweight.graph.blocks import StandIn, blocks_of, chain, held, without
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
    assert by_path["1.0.norm2"].within == "1.0", "the branch in it, which ends in the norm"
    assert by_path["1.0.conv2"].within == "1.0.norm2"
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
    assert (block.path, block.residual) == ("layers.1", True)
    assert block.parts == (("layers.1", StandIn(None, 2, plain=False)),)
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
    replace(model, block.stand_ins())
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


class Attention(nn.Module):
    """One head; gives its weights as well, as attention of libraries does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = self.qkv(hidden).chunk(3, -1)
        weights = torch.softmax(query @ key.mT + (0 if mask is None else mask[:1]), -1)
        return self.out(weights @ value), weights


class PreNorm(nn.Module):
    """Attention and an MLP, both added in one forward; `kind` is what code around reads of a layer."""

    kind = "full"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 9), nn.Linear(9, width)
        self.drop, self.scale = nn.Dropout(0.1), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        residual = x
        x, _ = self.attention(hidden=self.norm1(x), mask=mask)
        x = residual + self.drop(x)
        return x + self.scale * self.drop(self.down(torch.relu(self.up(self.norm2(x))))), None


class Inline(nn.Module):
    """Two residual branches that the network itself adds; the second writes into what the branch gives."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.norm1, self.conv1, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, stride=2), nn.Conv2d(6, 4, 1)
        self.conv3, self.conv4 = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        up = nn.functional.interpolate(self.relu(self.conv1(self.norm1(x))), x.shape[2:])
        x = x + self.conv2(up)
        y = self.conv4(self.relu(self.conv3(x)))
        y += x
        return y


def zeroed(model: nn.Module, path: str, *inputs: Tensor):
    """What the network gives when the module multiplies what it gives by 0."""

    def zero(_: nn.Module, __: object, output: object) -> object:
        return output * 0 if isinstance(output, Tensor) else (output[0] * 0, *output[1:])

    with torch.no_grad():
        handle = model.get_submodule(path).register_forward_hook(zero)
        found = model(*inputs)
        handle.remove()
    return found


LAYERS = {
    "layers.0.attention": {"layers.0.attention", "layers.0.norm1"},
    "layers.0.down": {"layers.0.down", "layers.0.up", "layers.0.norm2"},
    "layers.1.attention": {"layers.1.attention", "layers.1.norm1"},
    "layers.1.down": {"layers.1.down", "layers.1.up", "layers.1.norm2"},
}


@pytest.mark.parametrize("kinds", [False, True])
def test_a_layer_of_two_branches_is_counted_as_two(kinds):
    """Also where code reads attributes of the layer, so that it cannot go as a whole."""
    model, x = Stack(PreNorm(4), PreNorm(4), kinds=kinds), torch.randn(2, 3, 4)
    found = chain(blocks_of(model, x))
    assert {block.path: {path for path, _ in block.parts} for block in found} == LAYERS
    assert all(block.residual and block.is_branch and held(model, x, block) == "" for block in found)
    layer = model.layers[0]
    assert found[0].parameters == sum(
        item.numel() for part in (layer.attention, layer.norm1) for item in part.parameters()
    )
    assert found[0].macs == 2 * 3 * (4 * 12 + 4 * 4) + 2 * (2 * 3 * 3 * 4)
    assert found[1].macs == 2 * 3 * (4 * 9 + 9 * 4)


@pytest.mark.parametrize("path", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_without_a_branch_it_computes_what_it_would_with_zeros(path, training):
    model, x = Stack(PreNorm(4), PreNorm(4)).train(training), torch.randn(2, 3, 4)
    for layer in model.layers:
        layer.drop.p = 0.0
    block = next(block for block in blocks_of(model, x) if block.path == path)
    for other in (x, torch.randn(5, 7, 4)):
        expected = zeroed(model, path, other)["state"]
        with without(model, [block]):
            found = model(other)["state"]
        assert torch.equal(found, expected)
        assert found.shape == other.shape


def test_branches_that_the_network_itself_adds_go_and_come_back_in_a_fresh_instance(tmp_path):
    model, x = Inline().eval(), torch.randn(2, 1, 9, 9)
    blocks = chain(blocks_of(model, x))
    assert {block.path: dict(block.parts)[block.path] for block in blocks} == {
        "conv2": StandIn((1, 1, 1, 1), plain=False),
        "conv4": StandIn((-1, 4, -1, -1), plain=False, filled=True),
    }
    for block in blocks:
        expected = zeroed(model, block.path, x)
        pruned = replace(copy.deepcopy(model), block.stand_ins())
        assert (pruned(x) - expected).abs().max() <= 1e-6
        count = [sum(item.numel() for item in net.parameters()) for net in (model, pruned)]
        assert count[0] - count[1] == block.parameters
        again = replay(Inline().eval(), log_of(pruned).to_dict())
        again.load_state_dict(pruned.state_dict())
        assert torch.equal(again(x), pruned(x))
        again.train()(x).sum().backward()


def test_nothing_but_the_first_argument_is_passed_on():
    """A module that adds its second argument looks residual, and without it the stream would end."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)

        def forward(self, hidden: Tensor, stream: Tensor) -> Tensor:
            return self.dense(hidden) + stream

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(4, 4), Out()

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.inner(x)), x)

    found = {block.path: block for block in blocks_of(Net(), torch.randn(2, 4))}
    assert not found["out"].residual
    assert [block.path for block in chain(tuple(found.values()))] == ["out.dense"]


def test_wrapped_layers_are_opened_as_well():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Sequential(Basic(4), Basic(4))))
    model[0] = nn.Conv2d(1, 4, 1)
    assert [block.path for block in chain(blocks_of(model, torch.randn(1, 1, 5, 5)))] == ["1.0.0", "1.0.1"]


def test_a_shared_layer_loses_its_branch_in_all_calls():
    layer = PreNorm(4)
    model, x = Stack(layer, layer), torch.randn(2, 3, 4)
    block = next(block for block in blocks_of(model, x) if block.path == "layers.0.attention")
    assert block.names == ("layers.0.attention", "layers.1.attention")
    expected = zeroed(model.eval(), "layers.0.attention", x)["state"]
    fresh = copy.deepcopy(model)
    replace(model, block.stand_ins())
    assert torch.equal(model(x)["state"], expected)
    again = replay(fresh, log_of(model))
    assert again.layers[0] is again.layers[1]
    assert torch.equal(again(x)["state"], expected)


def test_torch_layers_keep_what_their_fast_way_reads():
    layer = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True, norm_first=True)
    model, x = nn.Sequential(nn.Linear(4, 4), layer).eval(), torch.randn(2, 3, 4)
    for block in blocks_of(model, x):
        if block.is_branch:
            with without(model, [block]), torch.no_grad():
                assert model(x).shape == x.shape
