import numpy as np
import pytest
import torch

from featherweight.errors import TechniqueError
from featherweight.graph.surgery import anatomy
from featherweight.techniques.pruning._budget import Budget, candidates, choose, cost_without


def looked(images, name):
    model = images.fresh(name)
    return model, anatomy(model, images.inputs[:2])


def ranked(groups, scale=()):
    """Scores 1, 2, 3 ... in each group, times a factor a group."""
    factors = [*scale, *[1.0] * (len(groups) - len(scale))]
    return [(group, torch.arange(1.0, len(group) + 1) * factor) for group, factor in zip(groups, factors, strict=True)]


def left(groups, chosen):
    gone = set(chosen.atoms.tolist())
    return [len(group) - sum(atom in gone for atom in group.atoms.tolist()) for group in groups]


def test_the_lowest_go(images):
    model, known = looked(images, "plain")
    groups = candidates(model, known)
    chosen = choose(model, known, ranked(groups), Budget(ratio=0.25))
    assert left(groups, chosen) == [18, 24, 36]
    for group in groups:
        assert set(group.atoms[: len(group) // 4]) <= set(chosen.atoms)
    assert chosen.reached == pytest.approx(0.25)
    assert chosen.left_whole == {}


def test_scores_compete_over_the_mean_or_as_they_are(images):
    model, known = looked(images, "plain")
    groups = candidates(model, known)
    scores = ranked(groups, (1000.0, 1.0, 1.0))
    relative = choose(model, known, scores, Budget(ratio=0.3, scope="global"))
    assert left(groups, relative)[0] < 24
    plain = choose(model, known, scores, Budget(ratio=0.3, scope="global", relative=False))
    assert left(groups, plain)[0] == 24


class TestWorth:
    @staticmethod
    def loss(images, worth, sign=1.0):
        """The sum of the scores that go for half of the multiply-adds, and how many channels are left by group."""
        model, known = looked(images, "plain")
        groups = candidates(model, known)
        scores = [(group, sign * (1 + torch.arange(float(len(group))) / 10)) for group in groups]
        budget = Budget(ratio=0.5, unit="macs", scope="global", relative=False, worth=worth)
        chosen = choose(model, known, scores, budget)
        assert chosen.reached == pytest.approx(0.5, abs=0.02)
        gone = set(chosen.atoms.tolist())
        lost = sum(
            float(value)
            for group, values in scores
            for atom, value in zip(group.atoms, values, strict=True)
            if int(atom) in gone
        )
        return lost, left(groups, chosen)

    def test_the_same_budget_is_met_for_less(self, images):
        """The greedy solution of the knapsack: the lowest score for what is saved goes first."""
        assert self.loss(images, 1.0)[0] < 0.9 * self.loss(images, 0.0)[0]

    def test_negative_scores_go_where_most_is_saved_too(self, images):
        plain, dear = (self.loss(images, worth, -1.0)[1] for worth in (0.0, 1.0))
        cheap = self.loss(images, 1.0)[1]
        assert dear != plain
        assert np.argmin(np.array(dear) / (24, 32, 48)) == np.argmin(np.array(cheap) / (24, 32, 48))

    def test_channels_all_count_alike(self, images):
        model, known = looked(images, "plain")
        groups = candidates(model, known)
        chosen = [
            choose(model, known, ranked(groups), Budget(ratio=0.5, scope="global", worth=worth)).atoms
            for worth in (0.0, 1.0)
        ]
        assert chosen[0].tolist() == chosen[1].tolist()


@pytest.mark.parametrize("unit", ["parameters", "macs", "bytes"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_budgets_by_cost(images, unit, ratio):
    model, known = looked(images, "plain")
    chosen = choose(model, known, ranked(candidates(model, known)), Budget(ratio=ratio, unit=unit))
    assert chosen.reached == pytest.approx(ratio, abs=0.01)
    whole = cost_without(known, unit, [], [])
    assert 1 - cost_without(known, unit, [], chosen.atoms) / whole == pytest.approx(chosen.reached)


def test_a_large_step_at_the_end_makes_others_stay(images):
    model, known = looked(images, "attention")
    groups = candidates(model, known)
    for ratio in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
        chosen = choose(model, known, ranked(groups), Budget(ratio=ratio, unit="parameters"))
        assert chosen.reached == pytest.approx(ratio, abs=0.01)


def test_multiples_and_floors(images):
    model, known = looked(images, "plain")
    groups = candidates(model, known)
    assert left(groups, choose(model, known, ranked(groups), Budget(ratio=0.5, multiple=8))) == [16, 16, 24]
    assert left(groups, choose(model, known, ranked(groups), Budget(ratio=0.95, floor=0.5))) == [12, 16, 24]
    assert left(groups, choose(model, known, ranked(groups), Budget(ratio=0.99, floor=0.0))) == [1, 1, 1]
    small = choose(model, known, ranked(groups), Budget(ratio=0.9, multiple=100))
    assert min(left(groups, small)) >= 1


@pytest.mark.parametrize("factors", ["rows", "columns", "auto"])
def test_of_a_product_one_factor_goes(images, factors):
    model, known = looked(images, "attention")
    kinds = [group.kind for group in candidates(model, known, factors)]
    assert kinds.count("row") + kinds.count("column") == 1
    assert kinds.count("row" if factors == "rows" else "column") == 1


def test_what_the_code_counts_goes_by_the_same_share(images):
    model, known = looked(images, "attention")
    groups = candidates(model, known)
    scores = [(group, torch.full((len(group),), 5.0 if group.name == "up" else 1.0)) for group in groups]
    chosen = choose(model, known, scores, Budget(ratio=0.2, scope="global", relative=False))
    kept = dict(zip([group.name for group in groups], left(groups, chosen), strict=True))
    assert kept["embed"] == 4 * kept["qkv"]


def test_without_candidates_it_says_what_holds_them(images):
    model = images.fresh("plain")
    known = anatomy(model, images.inputs[:2], ["*"])
    with pytest.raises(TechniqueError, match="no channels"):
        choose(model, known, ranked(candidates(model, known)), Budget(ratio=0.5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_must_be_finite(images, bad):
    model, known = looked(images, "plain")
    scores = ranked(candidates(model, known))
    scores[1][1][3] = bad
    with pytest.raises(TechniqueError, match="finite"):
        choose(model, known, scores, Budget(ratio=0.5))


def test_a_latency_budget_needs_a_clock(images):
    model, known = looked(images, "plain")
    with pytest.raises(TechniqueError, match="latency"):
        choose(model, known, ranked(candidates(model, known)), Budget(ratio=0.5, unit="latency"))
    chosen = choose(
        model,
        known,
        ranked(candidates(model, known)),
        Budget(ratio=0.5, unit="latency"),
        lambda atoms: 104.0 - len(atoms),
    )
    assert chosen.reached == pytest.approx(0.5, abs=0.01)


def test_the_same_scores_give_the_same_choice(images):
    model, known = looked(images, "residual")
    equal = [(group, torch.ones(len(group))) for group in candidates(model, known)]
    one, other = (choose(model, known, equal, Budget(ratio=0.5, scope="global")).atoms for _ in range(2))
    assert np.array_equal(one, other)


def test_layers_with_shares_of_their_own(images):
    model, known = looked(images, "plain")
    groups = candidates(model, known)
    shares = {groups[0].name: 0.75, groups[1].name: 0.0}
    chosen = choose(model, known, ranked(groups), Budget(ratio=0.5, layers=shares))
    assert left(groups, chosen) == [6, 32, 24]
    spent = choose(model, known, ranked(groups), Budget(ratio=0.5, unit="parameters", layers=shares))
    assert left(groups, spent)[:2] == [6, 32]
    assert spent.reached == pytest.approx(0.5, abs=0.02)
    with pytest.raises(TechniqueError, match="no layer of this name"):
        choose(model, known, ranked(groups), Budget(ratio=0.5, layers={"nowhere": 0.5}))
