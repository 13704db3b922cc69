import pytest
import torch
from tests.techniques.pruning.conftest import Chance
from tests.training.conftest import MemoryStore

from featherweight.errors import ConfigError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning.filter.stability import Stability


def scores(technique, model, context, name="8"):
    known = anatomy(model, context.example)
    return technique.scores(model, known, [known.group(name)], context)[0]


def test_a_filter_that_nothing_reads_collapses(images):
    model = images.trained("plain")
    with torch.no_grad():
        model[10].weight[:, 5] = 0
        model[8].weight[5] *= 0.2
    found = scores(Stability(penalty=0.01, penalty_epochs=3, tolerance=1), model, images.context())
    others = torch.cat([found[:5], found[6:]])
    assert float(found[5]) < 0.2
    assert float(found[5]) < float(others.median()) / 2


def test_of_twins_that_share_the_work_one_goes(images):
    model = images.trained("plain")
    with torch.no_grad():
        model[8].weight[1], model[8].bias[1] = model[8].weight[0], model[8].bias[0]
        model[8].weight[1] += 0.001 * torch.randn(512)
        model[10].weight[:, 0] /= 2
        model[10].weight[:, 1] = model[10].weight[:, 0] * 0.5
    found = scores(Stability(penalty=0.01, penalty_epochs=5, tolerance=1), model, images.context())
    assert float(found[1]) < float(found[0])


def test_weights_are_those_before_the_penalty(images):
    model = images.trained("plain")
    before = {name: item.clone() for name, item in model.state_dict().items()}
    context = images.context()
    cut = Stability(ratio=0.5, repair="none").apply(model, context)
    assert all(torch.equal(item, before[name]) for name, item in model.state_dict().items())
    rows = {tuple(row.flatten().tolist()) for row in before["0.weight"]}
    assert all(tuple(row.flatten().tolist()) in rows for row in cut[0].weight.detach())


def test_a_penalty_that_costs_too_much_is_divided(images):
    for tolerance, divided in ((0.05, True), (1.0, False)):
        context = images.context()
        settings = Stability(ratio=0.1, penalty=30.0, penalty_rate=5.0, tolerance=tolerance)
        settings.apply(images.trained("plain"), context)
        assert (context.details["penalty"] < 30.0) == divided


def test_rounds_reach_the_ratio(images):
    context = images.context()
    model = Stability(ratio=0.5, rounds=3, penalty_epochs=0.5, epochs=0.5).apply(images.trained("plain"), context)
    assert context.details["reached"] == pytest.approx(0.5)
    assert model[8].out_features == 24


def test_a_run_that_is_taken_up_ends_alike(images):
    settings, store = Stability(ratio=0.5, rounds=2, penalty_epochs=0.5, epochs=0.5), MemoryStore()
    one, other = (settings.apply(images.trained("plain"), images.context(run=store)) for _ in range(2))
    fresh = settings.apply(images.trained("plain"), images.context())
    for a, b, c in zip(*(item.state_dict().values() for item in (one, other, fresh)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_it_beats_chance(images):
    assert images.mean(Stability(ratio=0.5)) > images.mean(Chance(ratio=0.5)) + 0.2


@pytest.mark.parametrize(
    "wrong", [{"penalty": 0.0}, {"penalty_epochs": 0.0}, {"penalty_rate": -1.0}, {"tolerance": 2.0}, {"rounds": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Stability(**wrong)
