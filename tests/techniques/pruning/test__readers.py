import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.graph import surgery
from featherweight.techniques.pruning._layers import fitted_layers
from featherweight.techniques.pruning._readers import Parts, parts_of, readers_of, together
from featherweight.techniques.pruning._refit import Look, tensors_by_name, visit
from featherweight.techniques.pruning._walk import Walk


class Net(nn.Module):
    """The first channels are read by a convolution, through a flattening, and together with others."""

    def __init__(self):
        super().__init__()
        self.first, self.side = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 3, 1)
        self.mix, self.flat = nn.Conv2d(7, 5, 3, bias=False), nn.Linear(4 * 16, 2)

    def forward(self, x):
        first, side = self.first(x).relu(), self.side(x).relu()
        return self.mix(torch.cat([side, first], 1)).sum((2, 3)).mean(1, True) + self.flat(first.flatten(1))


def found():
    torch.manual_seed(0)
    model, inputs = Net().eval(), torch.randn(40, 1, 4, 4)
    walk = Walk.of(model, model, [Batch((inputs,), None)], torch.device("cpu"))
    layers = {layer.weight: layer for layer in fitted_layers(walk.graph, model)}
    group = surgery.anatomy(model, (inputs[:2],)).group("first")
    tensors = tensors_by_name(model)
    readers = readers_of(group, layers, tensors)
    looks = [Look(one.layer, tensors, tensors, None, len(inputs), torch.Generator().manual_seed(0)) for one in readers]
    seen = visit(walk, looks)
    return model, inputs, readers, [parts_of(*given) for given in zip(readers, looks, seen, strict=True)]


def test_readers_are_all_layers_with_the_columns_of_each_channel():
    _, _, readers, _ = found()
    assert [reader.layer.weight for reader in readers] == ["mix.weight", "flat.weight"]
    assert readers[0].columns.tolist() == [[*range(9 * place, 9 * place + 9)] for place in (3, 4, 5, 6)]
    assert readers[1].columns.tolist() == [[*range(16 * place, 16 * place + 16)] for place in range(4)]


def test_parts_are_contributions_to_what_other_columns_leave():
    model, inputs, _, parts = found()
    with torch.no_grad():
        first, side = model.first(inputs).relu(), model.side(inputs).relu()
        every = torch.stack(
            [
                torch.conv2d(first[:, [place]], model.mix.weight[:, [3 + place]]).movedim(1, -1).reshape(-1)
                for place in range(4)
            ],
            1,
        ).double()
        output = model.mix(torch.cat([side, first], 1)).movedim(1, -1).reshape(-1).double()
        rest = torch.conv2d(side, model.mix.weight[:, :3]).movedim(1, -1).reshape(-1).double()
    energy = output.square().sum()  # without a bias nothing is centred
    torch.testing.assert_close(parts[0].gram, every.T @ every / energy, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(parts[0].reached, every.T @ (output - rest) / energy, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(together(parts).gram, parts[0].gram + parts[1].gram)


def test_costs_are_errors_that_scaling_the_others_cannot_make_up_for():
    z = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 2 * z[:, 0]  # one of two that are alike costs nothing
    z[:, 3] *= 0.1
    y = z.sum(1)
    parts = Parts(z.T @ z / (y @ y), z.T @ y / (y @ y))
    costs = parts.costs()
    assert min(costs[0], costs[1]) < 1e-5
    alone = torch.linalg.lstsq(z[:, [0, 2]], y[:, None]).solution
    direct = (y - (z[:, [0, 2]] @ alone)[:, 0]).square().sum() / y.square().sum()
    torch.testing.assert_close(costs[3], direct, rtol=1e-3, atol=1e-5)
    assert max(costs[0], costs[1]) > 0.1 and costs[2] > 0.01


def test_costs_to_one_layer_are_what_is_left_after_its_weights_were_fitted_again():
    """Two channels that are the same, read by other weights: scaling cannot make one stand for both, fitting can."""
    x = torch.randn(300, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[:, 4] = x[:, 1]
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = x @ weight.T
    energy = y.square().sum()
    xx, xy = x.T @ x / energy, x.T @ y / energy
    contributions = Parts((weight.T @ weight) * xx, (weight.T * xy).sum(1))
    fitted = Parts(contributions.gram, contributions.reached, (xx, xy))
    assert sorted(fitted.costs().tolist())[0] < 1e-5 < sorted(contributions.costs().tolist())[0]
    last = torch.linalg.lstsq(x[:, [0, 2, 3]], y).solution
    direct = (y - x[:, [0, 2, 3]] @ last).square().sum() / energy
    assert max(fitted.costs()[1], fitted.costs()[4]) <= direct + 1e-3
