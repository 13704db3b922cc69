import itertools

import pytest
import torch
from tests.techniques.pruning.conftest import Chance

from featherweight.errors import ConfigError
from featherweight.graph.surgery import anatomy
from featherweight.numerics.collaborative import loss_change, quadratic
from featherweight.techniques.pruning.channel import collaborative
from featherweight.techniques.pruning.channel.collaborative import Collaborative


def given(monkeypatch, rows):
    """Influences of our choice in the place of gradients."""
    monkeypatch.setattr(collaborative, "influences", lambda model, known, groups, context, **_: rows)


def scored(technique, images, name="plain"):
    model, context = images.fresh(name), images.context()
    known = anatomy(model, context.example)
    groups = [known.group("8")]
    return technique.scores(model, known, groups, context)[0]


def test_what_cancels_out_goes_together(images, monkeypatch):
    rows = torch.randn(200, 48, dtype=torch.float64)
    rows[:, 1] = -rows[:, 0]
    rows[:, :2] *= 10  # each of the pair is dear alone
    given(monkeypatch, [rows])
    scores = scored(Collaborative(ratio=1 / 3), images)
    gone = set(scores.argsort()[:16].tolist())
    assert {0, 1} <= gone
    alone = (rows.T @ rows / 200).diagonal()
    assert not {0, 1} & set(alone.argsort()[:16].tolist())


def test_the_set_is_as_good_as_the_best_of_all(images, monkeypatch):
    rows = torch.randn(40, 48, dtype=torch.float64)
    rows[:, 8:] += 20  # which never go
    given(monkeypatch, [rows])
    for gradient in (False, True):
        scores = scored(Collaborative(ratio=4 / 48, gradient=gradient), images)
        s, u = quadratic(rows)
        u = u if gradient else torch.zeros_like(u)
        found = loss_change(s, u, scores.argsort()[:4])
        best = min(loss_change(s, u, torch.tensor(item)) for item in itertools.combinations(range(8), 4))
        assert found <= best + 0.01 * abs(best)


def test_without_pairs_it_is_the_squared_taylor_ranking(images, monkeypatch):
    rows = torch.diag(torch.linspace(1, 2, 48, dtype=torch.float64))  # no two channels in one example
    given(monkeypatch, [rows])
    assert torch.equal(scored(Collaborative(ratio=0.5), images).argsort(), rows.square().mean(0).argsort())


@pytest.mark.parametrize("settings", [{}, {"of": "macs"}, {"of": "parameters", "multiple": 8}, {"scope": "global"}])
@pytest.mark.parametrize("network", ["plain", "residual", "lstm"])
def test_budgets_are_met_as_by_single_scores(images, network, settings):
    context = images.context()
    Collaborative(ratio=0.4, examples=16, **settings).apply(images.fresh(network), context)
    coarse = not settings or "multiple" in settings or network == "lstm"  # where one step is large
    assert context.details["reached"] == pytest.approx(0.4, abs=0.06 if coarse else 0.02)


def test_it_beats_chance(images):
    assert images.mean(Collaborative(ratio=0.5, examples=128)) > images.mean(Chance(ratio=0.5)) + 0.25


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="examples"):
        Collaborative(examples=0)
