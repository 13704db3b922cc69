import copy

import pytest
import torch
from torch import nn

from featherweight.core.examples import Batch
from featherweight.errors import TechniqueError, UsageError
from featherweight.numerics.least_squares import Moments, columns_of, solve
from featherweight.training.samples import Sampling, Tap, by_group, sample


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batches(count=3, channels=3, size=9):
    return [Batch((torch.randn(4, channels, size, size, generator=seeded(part)),), None) for part in range(count)]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
        )


def collected(sampling, data=None, seed=0):
    seen = []
    rows = sample(sampling, batches() if data is None else data, lambda x, y: seen.append((x, y)), seeded(seed))
    x, y = torch.cat([x for x, _ in seen]), torch.cat([y for _, y in seen])
    assert rows == len(x) == len(y)
    return x, y


@pytest.mark.parametrize(("name", "shape"), [("0", (120, 3, 9)), ("3", (120, 8, 9)), ("8", (12, 6, 1))])
def test_an_unpruned_layer_gives_its_own_outputs(name, shape):
    """Pre-activation (the ReLU behind works in place), without bias, at the same places."""
    model = network()
    tap = Tap(model, name)
    x, y = collected(Sampling(tap, tap))
    assert x.shape == shape
    assert torch.allclose(x.flatten(1) @ tap.layer.weight.flatten(1).T, y, atol=1e-5)
    assert float(y.min()) < 0


def test_inputs_come_from_one_model_and_outputs_from_the_other():
    """Catalogue, entry 1, mistakes: Y of the pruned model; other places for X than for Y."""
    original = network()
    pruned = copy.deepcopy(original)
    nn.init.zeros_(pruned[0].weight[2:4])
    pruned[3] = nn.Conv2d(8, 6, 3, stride=2, padding=1)
    x, y = collected(Sampling(Tap(pruned, "3"), Tap(original, "3")))
    same_x, _ = collected(Sampling(Tap(pruned, "3"), Tap(pruned, "3")))
    other_x, same_y = collected(Sampling(Tap(original, "3"), Tap(original, "3")))
    assert torch.equal(x, same_x)
    assert torch.equal(y, same_y)
    assert torch.equal(x[:, [0, 1, 4, 5, 6, 7]], other_x[:, [0, 1, 4, 5, 6, 7]])
    assert not torch.equal(x[:, 2:4], other_x[:, 2:4])


def test_the_original_may_have_more_channels():
    original = network()
    pruned = copy.deepcopy(original)
    pruned[0], pruned[1], pruned[3] = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Conv2d(5, 6, 3, 2, 1)
    x, y = collected(Sampling(Tap(pruned, "3"), Tap(original, "3")))
    assert (x.shape[1:], y.shape[1:]) == ((5, 9), (6,))


def test_streamed_into_moments_a_lost_channel_is_made_up_for():
    """The whole of entry 1 for one layer: a copied channel goes, and the refit gives back the outputs."""
    original = network()
    with torch.no_grad():
        original[0].weight[5], original[0].bias[5] = original[0].weight[1], original[0].bias[1]
        original[1].bias.fill_(0.3)
    pruned = copy.deepcopy(original)
    kept = [0, 1, 2, 3, 4, 6, 7]
    moments = Moments(8 * 9, 6)
    data = batches(12)
    sample(Sampling(Tap(pruned, "3"), Tap(original, "3"), positions=25), data, moments.update, seeded())
    fit = solve(moments, columns_of(kept, 9))
    layer = pruned[3]
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, kept] = fit.weight.view(6, 7, 3, 3).float()
        layer.bias += fit.bias.float()
    original.eval(), pruned.eval()
    new = batches(13)[-1].inputs[0]
    assert torch.allclose(pruned(new), original(new), atol=1e-5)


def test_places_are_distinct_random_and_repeatable():
    model = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False))
    places = torch.arange(36.0).view(1, 1, 6, 6).expand(5, 1, 6, 6)
    examples = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 6, 6)
    data = [Batch((torch.cat([places, examples], 1),), None)]
    sampling = Sampling(Tap(model, "0"), Tap(model, "0"), positions=7)
    x, _ = collected(sampling, data)
    drawn = x[:, 0, 0].view(5, 7)
    assert torch.equal(x[:, 1, 0].view(5, 7), torch.arange(5.0)[:, None].expand(5, 7))
    assert all(len(set(row.tolist())) == 7 for row in drawn)
    assert len({tuple(sorted(row.tolist())) for row in drawn}) == 5
    assert torch.equal(collected(sampling, data)[0], x)
    assert not torch.equal(collected(sampling, data, seed=1)[0], x)
    everything, _ = collected(Sampling(Tap(model, "0"), Tap(model, "0"), positions=50), data)
    assert everything.shape[0] == 5 * 36


def test_groups_go_with_their_rows_of_the_weight():
    model = nn.Sequential(nn.Conv2d(6, 9, 3, groups=3, padding=1))
    x, y = collected(Sampling(Tap(model, "0"), Tap(model, "0")), batches(channels=6))
    for (inputs, outputs), weight in zip(by_group(x, y, 3), model[0].weight.chunk(3), strict=True):
        assert inputs.shape[1:] == (2, 9)
        assert torch.allclose(inputs.flatten(1) @ weight.flatten(1).T, outputs, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 6), (4, 3, 6), (2, 3, 4, 6)])
def test_linear_layers_take_any_leading_dimensions(shape):
    model = nn.Sequential(nn.Linear(6, 3))
    x, y = collected(Sampling(Tap(model, "0"), Tap(model, "0")), [Batch((torch.rand(shape),), None)])
    assert len(x) == shape[0] * min(10, torch.Size(shape[1:-1]).numel())
    assert torch.allclose(x[:, :, 0] @ model[0].weight.T, y, atol=1e-6)


class Residual(nn.Module):
    """A stem, and a block whose branch is added in place; the stem and the branch are what gets pruned."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.last = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 5, 3, padding=1), nn.Conv1d(5, 4, 1)

    def forward(self, x):
        shortcut = self.stem(x)
        out = self.last(input=self.first(shortcut).relu())
        out += shortcut
        return out


def test_a_residual_branch_makes_up_for_its_shortcut():
    """Catalogue, entry 1, step 7a: regress on Y2 + Y1 - Y1'."""
    torch.manual_seed(0)
    original = Residual()
    pruned = copy.deepcopy(original)
    with torch.no_grad():
        pruned.stem.weight += 0.1
    data = [Batch((torch.randn(4, 2, 20),), None)]
    shortcut = Tap(original, "stem"), Tap(pruned, "first", "input")
    x, y = collected(Sampling(Tap(pruned, "last"), Tap(original, "last"), shortcut), data)
    _, plain = collected(Sampling(Tap(pruned, "last"), Tap(original, "last")), data)
    change, _ = collected(Sampling(Tap(pruned, "first"), Tap(pruned, "first")), data)
    before, _ = collected(Sampling(Tap(original, "first"), Tap(original, "first")), data)
    assert torch.allclose(y - plain, before[:, :, 1] - change[:, :, 1], atol=1e-5)
    assert x.shape[1:] == (5, 1)
    assert not torch.allclose(y, plain, atol=1e-2)


def test_inputs_are_seen_before_a_module_works_in_place_on_them():
    """The shortcut of a block that begins with a ReLU in place."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3)))
    data = [Batch((torch.randn(50, 3, generator=seeded()),), None)]
    zeros = copy.deepcopy(model)
    nn.init.zeros_(zeros[0].weight), nn.init.zeros_(zeros[0].bias)
    shortcut = Tap(model, "1", "input"), Tap(zeros, "1", "input")
    _, y = collected(Sampling(Tap(zeros, "1.1"), Tap(model, "1.1"), shortcut), data)
    _, plain = collected(Sampling(Tap(zeros, "1.1"), Tap(model, "1.1")), data)
    assert torch.allclose(y - plain, model[0](data[0].inputs[0]), atol=1e-6)
    assert float((y - plain).min()) < 0


def test_a_layer_that_is_called_twice_gives_twice_the_rows():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x).relu_())

    model = Twice()
    x, y = collected(Sampling(Tap(model, "layer"), Tap(model, "layer")), [Batch((torch.rand(6, 3),), None)])
    assert len(x) == 12
    assert torch.allclose(x[:, :, 0] @ model.layer.weight.T, y, atol=1e-6)


def test_one_example_without_a_batch_is_one_example():
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    x, y = collected(Sampling(Tap(model, "0"), Tap(model, "0"), positions=4), [Batch((torch.rand(3, 6, 6),), None)])
    assert x.shape == (4, 3, 9)
    assert torch.allclose(x.flatten(1) @ model[0].weight.flatten(1).T, y, atol=1e-5)


def test_models_are_left_as_they_were():
    model = network()
    model.train()
    model[5].eval()
    state = copy.deepcopy(model.state_dict())
    x, y = collected(Sampling(Tap(model, "8"), Tap(model, "8")))
    again, _ = collected(Sampling(Tap(model, "8"), Tap(model, "8")))
    assert torch.equal(x, again)  # no dropout
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert (model.training, model[0].training, model[5].training) == (True, True, False)
    assert not any(module._forward_hooks for module in model.modules())
    assert not (x.requires_grad or y.requires_grad)


def test_what_lies_behind_the_layer_runs_once():
    """To find out how often the layer is called; later batches stop there."""
    runs = []
    model = network()
    model[3].register_forward_hook(lambda *_: runs.append("before"))
    model[8].register_forward_hook(lambda *_: runs.append("behind"))
    x, y = collected(Sampling(Tap(model, "3"), Tap(model, "3")), batches(5))
    assert len(x) == 5 * 4 * 10
    assert torch.allclose(x.flatten(1) @ model[3].weight.flatten(1).T, y, atol=1e-5)
    assert (runs.count("before"), runs.count("behind")) == (5, 1)


class TestRefusals:
    def test_layers_without_patches(self):
        with pytest.raises(TechniqueError, match=r"1: .*BatchNorm2d.*Only Conv1d"):
            Sampling(Tap(network(), "1"), Tap(network(), "1"))

    def test_names_that_are_not_there(self):
        with pytest.raises(UsageError, match=r"no module of this name .*'nowhere'"):
            Sampling(Tap(network(), "nowhere"), Tap(network(), "3"))

    def test_layers_of_two_kinds(self):
        with pytest.raises(TechniqueError, match=r"one kind .*Conv2d.*Linear"):
            Sampling(Tap(network(), "3"), Tap(network(), "8"))

    def test_no_position(self):
        with pytest.raises(UsageError, match="at least one position"):
            Sampling(Tap(network(), "3"), Tap(network(), "3"), positions=0)

    def test_other_strides(self):
        other = network()
        other[3].stride = (1, 1)
        with pytest.raises(TechniqueError, match=r"one shape .*5, 5.*9, 9"):
            collected(Sampling(Tap(other, "3"), Tap(network(), "3")))

    def test_shortcuts_that_are_no_tensors(self):
        class Pair(nn.Module):
            def forward(self, x):
                return x, x

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.pair, self.layer = Pair(), nn.Linear(3, 3)

            def forward(self, x):
                return self.layer(self.pair(x)[0])

        model = Net()
        shortcut = Tap(model, "pair"), Tap(model, "pair")
        with pytest.raises(TechniqueError, match=r"pair: its output is not one tensor .*tuple"):
            collected(Sampling(Tap(model, "layer"), Tap(model, "layer"), shortcut), [Batch((torch.rand(6, 3),), None)])

    def test_layers_that_are_not_called(self):
        class Around(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 3)

            def forward(self, x):
                return nn.functional.linear(x, self.layer.weight)

        model = Around()
        with pytest.raises(TechniqueError, match=r"layer: must be called .*\[0, 0\]"):
            collected(Sampling(Tap(model, "layer"), Tap(model, "layer")), [Batch((torch.rand(6, 3),), None)])
