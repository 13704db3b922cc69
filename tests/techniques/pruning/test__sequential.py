import copy
import dataclasses

import pytest
import torch
from torch import nn

from featherweight.core.task import Task
from featherweight.errors import ConfigError
from featherweight.techniques.pruning import _sequential
from featherweight.techniques.pruning.channel.lasso import Lasso
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.techniques.pruning.filter.thinet import Thinet
from featherweight.training.context import TaskContext

BOTH = (Lasso, Thinet)


def lent(inputs, seed=0):
    task = Task(model=nn.Identity(), example=inputs[:2], calibration=(inputs, torch.zeros(len(inputs))))
    return TaskContext(task, seed=seed)


def inputs(count=128):
    return torch.randn(count, 1, 7, 7, generator=torch.Generator().manual_seed(5))


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU()),
        *(nn.Conv2d(16, 20, 1), nn.ReLU(), nn.Conv2d(20, 4, 3), nn.Flatten()),
    ).eval()


def deep():
    """Eight layers."""
    torch.manual_seed(0)
    inner = [layer for _ in range(6) for layer in (nn.Conv2d(16, 16, 1), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), *inner, nn.Conv2d(16, 4, 3), nn.Flatten()).eval()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(2.2)
    return model


def error(model, after):
    other = torch.randn(64, 1, 7, 7, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        return float((model(other) - after(other)).square().mean() / model(other).var())


def test_the_copy_is_what_the_network_becomes(monkeypatch):
    """What was fitted with zero columns is what is left when they are taken out: nothing more is repaired."""
    seen, take_out = [], _sequential.take_out

    def watched(model, known, chosen):
        seen.append((model, take_out(model, known, chosen)))
        return seen[-1][1]

    monkeypatch.setattr(_sequential, "take_out", watched)
    monkeypatch.setattr(_sequential, "repaired", None)
    model = chain()
    after = Lasso(ratio=0.5).apply(model, lent(inputs()))
    masked, cut = seen[0]
    assert after is cut and after[0].weight.shape[0] == 6 and after[2].weight.shape[:2] == (8, 6)
    torch.testing.assert_close(masked(inputs()), cut(inputs()), rtol=1e-4, atol=1e-5)
    assert torch.equal(model[2].weight, chain()[2].weight)  # the user's network is as it was


def test_later_choices_see_what_is_left_and_reach_what_was_there(monkeypatch):
    """With X of the whole network, or Y of the pruned one, errors add up."""
    walk = _sequential.Walk.of
    good = error(deep(), Lasso(ratio=0.4).apply(deep(), lent(inputs(256))))
    found = {}
    for name, swap in (("x of the whole", lambda b, a: (b, b)), ("y of the pruned", lambda b, a: (a, a))):
        with monkeypatch.context() as patch:
            patch.setattr(_sequential.Walk, "of", lambda b, a, *rest, swap=swap: walk(*swap(b, a), *rest))
            found[name] = error(deep(), Lasso(ratio=0.4).apply(deep(), lent(inputs(256))))
    assert good < 0.9 * min(found.values())


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_fitted_is_better_than_what_is_only_chosen(kind):
    settings = {"ratio": 0.5, "repair": "none"} | ({"refit": "none"} if kind is Thinet else {})
    chosen = error(chain(), kind(**settings).apply(chain(), lent(inputs())))
    settings = {"ratio": 0.5} | ({"refit": "weights"} if kind is Thinet else {})
    assert error(chain(), kind(**settings).apply(chain(), lent(inputs()))) < 0.5 * chosen


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("network", ["residual", "concat", "attention"])
def test_networks_of_many_kinds_keep_most(images, kind, network):
    """Groups that no layer reads by columns (heads) go by size; all others by what they give."""
    scores = {}
    for technique in (kind(ratio=0.4), Norm(ratio=0.4, repair="none")):
        scores[type(technique)] = images.accuracy(technique.apply(images.trained(network), images.context()))
    assert scores[kind] >= scores[Norm] - 0.01


@pytest.mark.parametrize("unit", ["macs", "parameters", "bytes"])
@pytest.mark.parametrize("settings", [{}, {"scope": "global"}, {"shallow": 2.0}])
def test_budgets_are_met(images, unit, settings):
    context = images.context()
    Lasso(ratio=0.4, of=unit, **settings).apply(images.trained("plain"), context)
    assert context.details["reached"] == pytest.approx(0.4, abs=0.02)


def test_shallow_layers_lose_more_where_asked():
    context = lent(inputs())
    Lasso(ratio=0.4, of="macs", shallow=3.0).apply(chain(), context)
    shares = [1 - left / before for before, left in context.details["removed"].values()]
    assert shares[0] > shares[1] > shares[2]
    with pytest.raises(ConfigError, match="shallow"):
        Lasso(shallow=0.0)


def test_what_costs_least_for_what_it_saves_goes_first():
    """Global: a layer with twins loses as many before any other loses anything."""
    model = chain()
    with torch.no_grad():
        model[4].weight[10:], model[4].bias[10:] = model[4].weight[:10], model[4].bias[:10]
    context = lent(inputs())
    Lasso(ratio=10 / 48, scope="global").apply(model, context)
    assert context.details["removed"] == {"0": [12, 12], "2": [16, 16], "4": [20, 10]}


def test_hidden_units_of_recurrent_layers_go_by_size(images):
    context = images.context()
    after = Lasso(ratio=0.5).apply(images.trained("lstm"), context)
    assert (after.rnn.hidden_size, after.head.in_features) == (16, 16)
    assert all(left < before for before, left in context.details["removed"].values())


def test_the_same_seed_gives_the_same_bytes():
    first, second = (Lasso(ratio=0.5).apply(chain(), lent(inputs())).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_that_is_no_graph_is_pruned_by_size(monkeypatch):
    def refuse(*given):
        raise _sequential.TechniqueError("the network cannot be run node by node", where="net")

    monkeypatch.setattr(_sequential.Walk, "of", refuse)
    context = lent(inputs())
    after = Lasso(ratio=0.5).apply(chain(), context)
    assert after[0].weight.shape[0] == 6 and "node by node" in context.details["repair"]


def test_settings_survive_a_change_of_ratio():
    assert dataclasses.replace(Thinet(refit="weights"), ratio=0.1).repair == "least_squares"
    assert copy.deepcopy(Lasso(shallow=2.0)).budget.scope == "global"
