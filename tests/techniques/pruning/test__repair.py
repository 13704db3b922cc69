import numpy as np
import pytest
import torch
from torch import nn

from featherweight.core.task import Task
from featherweight.encodings.attach import attach
from featherweight.encodings.dense import Dense
from featherweight.graph import surgery
from featherweight.techniques.pruning import _repair
from featherweight.techniques.pruning._repair import repaired
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.training.context import TaskContext


def context(inputs, seed=0):
    return TaskContext(
        Task(model=nn.Identity(), example=inputs[:2], calibration=(inputs, torch.zeros(len(inputs)))), seed=seed
    )


def cut(model, inputs, channels, repair="least_squares"):
    """The model without channels {layer: indices}, repaired on the inputs."""
    model = model.eval()
    known, lent = surgery.anatomy(model, (inputs[:2],)), context(inputs)
    atoms = np.concatenate([known.group(name).atoms[list(places)] for name, places in channels.items()])
    after = surgery.remove(model, known, atoms)
    repaired(repair, model, after, known, atoms, lent)
    return after, lent.details.get("repair")


def error(model, after, inputs):
    with torch.no_grad():
        whole, cut = model(inputs), after(inputs)
    return float((whole - cut).square().mean() / whole.var())


def images(count=96, side=6, channels=1):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(3))


def straight(**settings):
    return nn.Sequential(nn.Conv2d(1, 8, 3, **settings), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.ReLU(), nn.Flatten())


class TestNothingIsLost:
    def test_a_channel_that_occurs_twice(self):
        model = straight()
        with torch.no_grad():
            model[0].weight[3], model[0].bias[3] = model[0].weight[6], model[0].bias[6]
        assert error(model, cut(model, images(), {"0": [3]}, "none")[0], images()) > 1e-3
        assert error(model, cut(model, images(), {"0": [3]})[0], images()) < 1e-7

    @pytest.mark.parametrize("kind", ["bias", "norm"])
    def test_a_channel_that_is_a_constant_goes_into_what_follows(self, kind):
        """Borders aside there is no padding: the constant is an intercept, of the bias or of the norm's mean."""
        model = straight()
        if kind == "norm":
            model[2] = nn.Sequential(nn.Conv2d(8, 5, 3, bias=False), nn.BatchNorm2d(5))
        with torch.no_grad():
            model[0].weight[2], model[0].bias[2] = 0.0, 0.7
        after, _ = cut(model, images(), {"0": [2]})
        assert error(model, after, images()) < 1e-9
        assert kind == "bias" or after[2][0].bias is None

    def test_without_a_place_for_an_intercept_none_is_fitted(self):
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3, bias=False), nn.Flatten())
        with torch.no_grad():
            model[0].weight[3], model[0].bias[3] = model[0].weight[6], model[0].bias[6]
        after, _ = cut(model, images(), {"0": [3]})
        assert after[2].bias is None and error(model, after, images()) < 1e-7

    def test_groups_are_fitted_each_for_itself(self):
        """The second layer reads its four channels in two groups; one of each goes, and a twin in the group is left."""
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten())
        with torch.no_grad():
            for twin, other in ((0, 1), (2, 3)):
                model[0].weight[twin], model[0].bias[twin] = model[0].weight[other], model[0].bias[other]
        known = surgery.anatomy(model.eval(), (images()[:2],))
        group = next(item for item in known.groups if item.slots[0].tensor == "0.weight" and item.kind != "row")
        after = surgery.remove(model, known, group.atoms[:1])
        repaired("least_squares", model, after, known, group.atoms[:1], context(images()))
        assert after[2].groups == 2 and error(model, after, images()) < 1e-7


class Branch(nn.Module):
    """The shortcut loses channels that its readers miss; the branch's last layer can make up for the stem's change."""

    def __init__(self):
        super().__init__()
        self.inner, self.stem = nn.Conv2d(2, 12, 1), nn.Conv2d(12, 6, 1)
        self.a, self.b, self.norm = nn.Conv2d(6, 24, 1), nn.Conv2d(24, 6, 1, bias=False), nn.BatchNorm2d(6)

    def forward(self, x):
        x = self.stem(self.inner(x).relu())
        return (x + self.norm(self.b(self.a(x).relu()))).flatten(1)


class TestOrder:
    def test_later_layers_make_up_for_the_errors_of_earlier_ones(self):
        """Y comes from the whole network: what a layer misses is the target of the next one."""
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1), nn.Flatten())
        after, left = cut(model, images(256), {"0": range(6), "2": range(4)})
        assert list(left) == ["2.weight", "3.weight"]
        plain, _ = cut(model, images(256), {"0": range(6), "2": range(4)}, "none")
        assert error(model, after, images()) < 0.25 * error(model, plain, images())

    def test_the_last_layer_of_a_branch_makes_up_for_the_shortcut(self, monkeypatch):
        torch.manual_seed(1)
        model, inputs = Branch().eval(), images(256, channels=2)
        after, _ = cut(model, inputs, {"inner": range(5)})
        layers = _repair.fitted_layers

        def blind(graph, network):
            return [_without(item) for item in layers(graph, network)]

        monkeypatch.setattr(_repair, "fitted_layers", blind)
        unaware, _ = cut(model, inputs, {"inner": range(5)})
        assert error(model, after, inputs) < 0.8 * error(model, unaware, inputs)

    def test_layers_before_the_first_loss_are_left_alone(self):
        model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
        inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
        after, left = cut(model, inputs, {"2": [0, 1]})
        assert list(left) == ["3.weight"]
        assert torch.equal(after[1].weight, model[1].weight)


def _without(layer):
    settings = {name: getattr(layer, name) for name in layer.__dataclass_fields__}
    return type(layer)(**(settings | {"shortcut": None}))


class TestGuards:
    def test_on_other_examples_it_is_never_worse(self):
        """Hardly any rows, and noise: what is written was judged on rows that did not teach."""
        model = straight()
        for seed in range(4):
            inputs = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
            _, left = cut(model, inputs, {"0": [1, 5]})
            assert all(0 <= share <= 1 for share in left.values())

    def test_too_few_examples_to_judge_change_nothing(self):
        model, inputs = straight(), images(3)
        after, left = cut(model, inputs, {"0": [1]})
        assert left == {}
        assert torch.equal(after[2].weight, model[2].weight[:, [0, 2, 3, 4, 5, 6, 7]])

    def test_a_layer_too_wide_for_its_gram_matrix_stays(self, monkeypatch):
        monkeypatch.setattr("featherweight.techniques.pruning._refit.WIDEST", 60)
        model = straight()
        after, left = cut(model, images(), {"0": [1]})
        assert left == {} and torch.equal(after[2].bias, model[2].bias)

    def test_weights_with_an_encoding_and_shared_ones_stay(self):
        model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
        model[2].weight = model[3].weight
        inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
        known = surgery.anatomy(model.eval(), (inputs[:2],))
        atoms = known.group("0").atoms[:2]
        after = surgery.remove(model, known, atoms)
        attach(after, {"1.weight": Dense(after[1].weight.detach().clone())})
        before = {name: item.clone() for name, item in after.state_dict().items()}
        repaired("least_squares", model, after, known, atoms, context(inputs))
        assert all(torch.equal(item, before[name]) for name, item in after.state_dict().items())

    def test_a_network_that_is_no_graph_gets_statistics_and_says_why(self, monkeypatch):
        model = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 3))
        calls = []

        def refuse(*given):
            calls.append(given)
            raise _repair.TechniqueError("the network cannot be run node by node", where="net")

        monkeypatch.setattr(_repair.Walk, "of", refuse)
        after, said = cut(model, images() + 2.0, {"0": [0]})
        assert "node by node" in said and calls
        assert (after[1].running_mean != model[1].running_mean[1:]).all()


class TestOnDigits:
    def test_least_squares_is_better_than_statistics_and_these_than_nothing(self, images):
        def mean(repair):
            return images.mean(Norm(ratio=0.6, repair=repair))

        none, statistics, fitted = map(mean, ("none", "statistics", "least_squares"))
        assert none + 0.05 < statistics and statistics + 0.05 < fitted

    def test_the_same_seed_gives_the_same_bytes_and_another_one_others(self, images):
        def weights(seed):
            model = images.trained("residual")
            changed = Norm(ratio=0.4, repair="least_squares").apply(model, images.context(seed))
            return changed.state_dict()

        first, second, other = weights(0), weights(0), weights(1)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    @pytest.mark.parametrize("network", ["residual", "concat", "attention", "lstm"])
    def test_networks_of_many_kinds_come_nearer_to_what_they_were(self, images, network):
        model = images.trained(network).eval()
        inputs = images.inputs[1347:]
        whole, errors = model(inputs).detach(), {}
        for repair in ("statistics", "least_squares"):
            changed = Norm(ratio=0.4, repair=repair).apply(images.trained(network), images.context()).eval()
            errors[repair] = float((changed(inputs).detach() - whole).square().mean())
        assert errors["least_squares"] < 0.7 * errors["statistics"]
