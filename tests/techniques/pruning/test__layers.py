import pytest
import torch
from torch import nn

from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.graph.record import record
from featherweight.techniques.pruning._layers import Norm, fitted_layers, scale_behind


def found(model, *shape):
    return {layer.weight: layer for layer in fitted_layers(record(model.eval(), torch.rand(*shape)).graph, model)}


class Block(nn.Module):
    """The shortcut is there before the branch, or is computed behind it."""

    def __init__(self, late=False):
        super().__init__()
        self.late = late
        self.stem, self.a, self.b = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, bias=False)
        self.norm, self.side = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        side = None if self.late else self.side(x)
        branch = self.norm(self.b(self.a(x).relu()))
        return branch + (self.side(x) if side is None else side)


def test_where_an_intercept_can_go_and_what_is_added():
    layers = found(Block(), 2, 1, 5, 5)
    assert list(layers) == ["stem.weight", "side.weight", "a.weight", "b.weight"]
    last = layers["b.weight"]
    assert (
        last.norm == Norm("norm.running_mean", "norm.running_var", "norm.weight", "norm.bias", 1e-5)
        and last.bias is None
    )
    assert last.shortcut == layers["side.weight"].node
    assert layers["a.weight"].bias == "a.bias" and layers["a.weight"].norm is None
    assert layers["a.weight"].shortcut is None and layers["side.weight"].shortcut is None


def test_a_shortcut_that_is_not_there_yet_is_none():
    layers = found(Block(late=True), 2, 1, 5, 5)
    assert layers["b.weight"].shortcut is None
    assert layers["side.weight"].shortcut is not None  # its turn comes when the branch is known


def test_shared_used_twice_and_encoded_weights_are_left_out():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.one, self.other, self.kept, self.own = (nn.Linear(4, 4) for _ in range(5))
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.own(self.kept(self.other(self.one(self.twice(self.twice(x))))))

    model = Net()
    attach(model, {"kept.weight": Dense(model.kept.weight.detach().clone())})
    assert list(found(model, 2, 4)) == ["own.weight"]


LAYERS = {
    "stride": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 7, 7)),
    "grouped": (nn.Conv2d(4, 6, (3, 1), groups=2, dilation=2, padding=2), (2, 4, 7, 7)),
    "same": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 6, 6)),
    "depthwise": (nn.Conv1d(4, 4, 3, groups=4), (2, 4, 9)),
    "circular": (nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9)),
    "volume": (nn.Conv3d(4, 2, 2), (2, 4, 3, 3, 3)),
    "linear": (nn.Linear(4, 6), (2, 4)),
    "tokens": (nn.Linear(4, 6), (2, 5, 4)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_and_patches_are_what_the_layer_computes(kind):
    layer, shape = LAYERS[kind]
    model, value = nn.Sequential(layer), torch.rand(*shape)
    (known,) = found(model, *shape).values()
    graph = record(model, value).graph
    with torch.no_grad():
        output = model(value)
        if known.input >= graph.first_node:  # the layer's code pads by an operator of its own
            value = nn.functional.pad(value, (1, 1), "circular")
        places = output.numel() // len(output) // layer.weight.shape[0]
        positions = torch.stack([torch.randperm(places)[:3] for _ in range(2)])
        x, y = known.patches(value, positions), known.rows(output, positions)
        weight = layer.weight.reshape(known.groups, len(layer.weight) // known.groups, -1)
        computed = (x @ weight.mT).transpose(0, 1).reshape(len(y), -1) + layer.bias
    torch.testing.assert_close(computed, y)


def test_what_a_norm_lets_through():
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 0.0, -1.0]))
        norm.running_var.fill_(4.0)
    tensors = dict(norm.named_parameters()) | dict(norm.named_buffers())
    scale, enough = scale_behind(Norm("running_mean", "running_var", "weight", "bias", 0.0), tensors, 3)
    assert scale.tolist() == [1.0, 0.0, -0.5] and enough.tolist() == [True, False, True]
    scale, enough = scale_behind(None, tensors, 3)
    assert scale.tolist() == [1.0, 1.0, 1.0] and enough.all()
