import copy
from functools import partial

import pytest
import torch
from torch import nn

from featherweight.core.config import from_dict, to_dict
from featherweight.core.context import Finetuning
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.sparse import Sparse
from featherweight.errors import ConfigError, TaskError, TechniqueError
from featherweight.techniques.pruning.connection.magnitude import Magnitude

prune = partial(Magnitude, clean=False)  # densities are exactly those asked for; cleaning has its own tests
LAYERS = ("0.weight", "2.weight", "4.weight")


def masks(model):
    return {name: encoding.mask for name, encoding in encodings_of(model).items()}


def densities(model):
    return {name: float(mask.float().mean()) for name, mask in masks(model).items()}


def overall(model):
    matrices = {name: item for name, item in model.named_parameters() if item.dim() == 2}
    kept = sum(int(masks(model).get(name, torch.ones_like(item)).sum()) for name, item in matrices.items())
    return kept / sum(item.numel() for item in matrices.values())


# accuracy: the reference experiment (catalogue of techniques, appendix E1) ------------------------------------------


def test_without_retraining_half_is_free_and_most_is_not(digits):
    score = {}
    for density in (0.5, 0.1, 0.05):
        settings = prune(density=density, epochs=0, allocation="uniform")
        score[density] = digits.accuracy(settings.apply(digits.dense(), digits.context(train=False)))
    dense = digits.accuracy(digits.dense())
    assert score[0.5] >= dense - 0.01
    assert score[0.1] <= dense - 0.1
    assert score[0.05] <= dense - 0.3


@pytest.mark.parametrize("schedule", ["gradual", "iterative", "one_shot"])
def test_retraining_brings_the_accuracy_back(digits, schedule):
    model = prune(density=0.1, schedule=schedule, epochs=10).apply(digits.dense(), digits.context())
    assert overall(model) == pytest.approx(0.1, abs=1e-4)
    assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.02


def test_inherited_weights_beat_fresh_ones_in_the_same_mask(digits):
    inherited = prune(density=0.05, epochs=10).apply(digits.dense(), digits.context())
    fresh = digits.fresh(1)
    held = {name: Sparse.of(dict(fresh.named_parameters())[name].detach(), m) for name, m in masks(inherited).items()}
    attach(fresh, held)
    digits.context().finetune(fresh, Finetuning(epochs=10, learning_rate=1e-3))
    assert digits.accuracy(inherited) > digits.accuracy(fresh)


def test_rounds_beat_one_cut(digits):
    score = {}
    for schedule in ("gradual", "iterative", "one_shot"):
        settings = prune(density=0.03, schedule=schedule, epochs=8, allocation="uniform")
        score[schedule] = digits.accuracy(settings.apply(digits.dense(), digits.context()))
    assert min(score["gradual"], score["iterative"]) > score["one_shot"] + 0.02


# masks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_zeros_stay_exactly_zero_in_later_training(digits, optimizer):
    rate = 1e-3 if optimizer == "adam" else 1e-2
    context = digits.context(optimizer=optimizer, learning_rate=rate, weight_decay=1e-2)
    model = prune(density=0.2, epochs=1).apply(digits.dense(), context)
    before = {name: mask.clone() for name, mask in masks(model).items()}
    context.finetune(model, Finetuning(epochs=1, learning_rate=rate, weight_decay=1e-2))
    for name, mask in before.items():
        assert (dict(model.named_parameters())[name][~mask] == 0).all()
        assert torch.equal(masks(model)[name], mask)
    assert not any("bias" in name for name in before)


@pytest.mark.parametrize("allocation", ["lamp", "global", "uniform", "erk", "sensitivity"])
def test_every_allocation_meets_the_budget(digits, allocation):
    settings = prune(density=0.2, epochs=0, allocation=allocation)
    model = settings.apply(digits.dense(), digits.context())
    assert overall(model) == pytest.approx(0.2, abs=2e-3)
    found = densities(model)
    if allocation == "uniform":
        assert all(value == pytest.approx(0.2, abs=1e-3) for value in found.values())
    else:
        assert found.get("4.weight", 1.0) > found["2.weight"]  # the small output layer is kept denser by all of them


def test_density_by_pattern_leaves_the_rest_alone(digits):
    model = prune(density={"0": 0.08, "4.*": 0.26}, epochs=0).apply(digits.dense(), digits.context())
    assert densities(model) == {"0.weight": pytest.approx(0.08, abs=1e-4), "4.weight": pytest.approx(0.26)}


def test_quality_is_in_deviations_of_the_weights_that_are_left(digits):
    model = digits.dense()
    weight = model[0].weight.detach().clone()
    settings = prune(criterion="std", quality={"0": 1.0}, density=1e-9, epochs=0)
    settings.apply(model, digits.context())
    assert torch.equal(masks(model)["0.weight"], weight.abs() > float(weight.std(correction=0)))
    prune(criterion="std", quality={"0": 1.0}, density=1e-9, epochs=0).apply(model, digits.context())
    survivors = weight[masks(model)["0.weight"]]
    assert 0 < survivors.numel() < int((weight.abs() > weight.std()).sum())
    assert "2.weight" not in masks(model)


def test_density_bounds_the_quality_criterion(digits):
    settings = prune(criterion="std", quality=3.0, density=0.4, epochs=0)
    assert all(
        value == pytest.approx(0.4, abs=1e-3)
        for value in densities(settings.apply(digits.dense(), digits.context())).values()
    )


def test_density_one_changes_nothing(digits):
    model, context = digits.dense(), digits.context(train=False)
    before = copy.deepcopy(model.state_dict())
    assert prune(density=1.0).apply(model, context) is model
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert encodings_of(model) == {}


def test_pruning_again_only_shrinks(digits):
    model = prune(density=0.3, epochs=0).apply(digits.dense(), digits.context())
    first = masks(model)
    prune(density=0.6, epochs=0).apply(model, digits.context())
    assert all(torch.equal(first[name], mask) for name, mask in masks(model).items())
    prune(density=0.1, epochs=1).apply(model, digits.context())
    assert not any((mask & ~first[name]).any() for name, mask in masks(model).items())
    assert overall(model) == pytest.approx(0.1, abs=1e-4)


def test_cleaning_changes_no_output_and_prunes_what_has_no_effect(digits):
    plain = prune(density=0.03, epochs=0).apply(digits.dense(), digits.context())
    context = digits.context()
    model = Magnitude(density=0.03, epochs=0).apply(digits.dense(), context)
    with torch.no_grad():
        assert torch.allclose(plain(digits.held_inputs), model(digits.held_inputs), atol=1e-5)
    assert context.details["dead"] > 0
    assert context.details["dead"] == sum(
        int((mask & ~masks(model)[name]).sum()) for name, mask in masks(plain).items()
    )
    for encoding in encodings_of(model).values():
        assert torch.equal(encoding.to_tensor() != 0, encoding.mask)


def test_shared_values_stay_shared_while_pruned(digits):
    model = digits.dense()
    attach(model, {"2.weight": Codebook.of(model[2].weight, torch.linspace(-0.3, 0.3, 8))})
    prune(density=0.4, epochs=2).apply(model, digits.context())
    kept = encodings_of(model)["2.weight"]
    assert isinstance(kept, Sparse)
    assert isinstance(kept.inner, Codebook)
    assert len(torch.unique(model[2].weight[kept.mask])) <= 8


# training ------------------------------------------------------------------------------------------------------------


class Watch:
    """A context that keeps what it was asked for, and trains nothing."""

    def __init__(self, context, steps=0):
        self._context, self.calls, self.steps, self.seen = context, [], steps, []

    def __getattr__(self, name):
        return getattr(self._context, name)

    def finetune(self, model, settings, *, extra_loss=None, on_step=None):
        self.calls.append((settings, None if extra_loss is None else float(extra_loss(model).detach())))
        for step in range(self.steps if on_step is not None else 0):
            on_step(model, step, self.steps)
            self.seen.append(overall(model))


def test_the_gradual_ramp_is_cubic_and_ends_early(digits):
    watch = Watch(digits.context(), steps=200)
    prune(density=0.1, ramp=0.5, allocation="uniform").apply(digits.dense(), watch)
    assert watch.seen[0] == 1.0
    assert watch.seen[50] == pytest.approx(0.1 + 0.9 * 0.5**3, abs=1e-3)
    assert watch.seen[100] == watch.seen[-1] == pytest.approx(0.1, abs=1e-3)
    assert watch.seen == sorted(watch.seen, reverse=True)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_short_training_still_ends_at_the_density(digits, steps):
    model = prune(density=0.1).apply(digits.dense(), Watch(digits.context(), steps=steps))
    assert overall(model) == pytest.approx(0.1, abs=1e-4)


def test_rounds_share_the_epochs_and_shrink_by_the_same_factor(digits):
    watch = Watch(digits.context(learning_rate=0.01))
    model = prune(density=0.04, schedule="iterative", rounds=2, epochs=6, learning_rate=0.1).apply(
        digits.dense(), watch
    )
    assert [(call.epochs, call.learning_rate) for call, _ in watch.calls] == [(3.0, pytest.approx(0.001))] * 2
    assert overall(model) == pytest.approx(0.04, abs=1e-4)


def test_penalties_are_sums_over_the_survivors(digits):
    watch = Watch(digits.context())
    model = prune(density={"0": 0.5}, schedule="one_shot", l1=0.5, l2=0.25).apply(digits.dense(), watch)
    weight = model[0].weight.detach()
    assert watch.calls[0][1] == pytest.approx(float(0.5 * weight.abs().sum() + 0.25 * weight.square().sum()), rel=1e-5)


def test_dropout_follows_the_connections(digits):
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
    prune(density=0.25, allocation="uniform", epochs=1).apply(model, digits.context())
    assert model[2].p == pytest.approx(0.25, abs=1e-3)
    prune(density=0.0625, allocation="uniform", epochs=1).apply(model, digits.context())
    assert model[2].p == pytest.approx(0.125, abs=1e-3)
    kept = nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.5))
    prune(density=0.25, adjust_dropout=False, epochs=1).apply(kept, digits.context())
    assert kept[1].p == 0.5


def test_records_densities_and_curves(digits):
    context = digits.context()
    model = prune(density=0.1, epochs=0, sensitivity=True).apply(digits.dense(), context)
    assert context.details["density"] == pytest.approx(densities(model))
    assert set(context.details["sensitivity"]) == set(LAYERS)
    assert context.details["sensitivity"]["0.weight"][0] == [1.0, digits.accuracy(digits.dense())]


def test_same_seed_same_weights(digits):
    runs = [prune(density=0.1, epochs=2).apply(digits.dense(), digits.context()) for _ in range(2)]
    first, second = (run.state_dict() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_weights(kind, digits):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = kind(8, 16, batch_first=True), nn.Linear(16, 10)

        def forward(self, inputs):
            return self.head(self.rnn(inputs.reshape(-1, 8, 8))[0][:, -1])

    model = prune(density=0.3, epochs=1).apply(Rows(), digits.context())
    assert set(densities(model)) == {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"}
    assert overall(model) == pytest.approx(0.3, abs=1e-3)
    assert (model.rnn.weight_hh_l0[~masks(model)["rnn.weight_hh_l0"]] == 0).all()


# bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"density": 0.0},
        {"density": 1.5},
        {"density": -0.1},
        {"density": float("nan")},
        {"density": {}},
        {"density": {"fc": 0.0}},
        {"quality": -1.0},
        {"epochs": -1.0},
        {"epochs": float("inf")},
        {"rounds": 0},
        {"ramp": 1.5},
        {"learning_rate": 0.0},
        {"l1": -1.0},
        {"schedule": "sudden"},
        {"allocation": "fair"},
        {"tensors": "0"},
        {"densty": 0.1},
    ],
)
def test_bad_settings_are_refused_with_the_field(settings):
    with pytest.raises(ConfigError, match=next(iter(settings)).split(".")[0]):
        from_dict(Magnitude, settings)


def test_settings_come_back(digits):
    for settings in (Magnitude(), Magnitude(density={"0": 0.5, "*": 0.1}, tensors=("0", "2"), l1=1e-5)):
        assert from_dict(Magnitude, to_dict(settings)) == settings
        assert from_dict(Magnitude, to_dict(settings, defaults=False)) == settings


def test_what_cannot_be_pruned(digits):
    context = digits.context()
    with pytest.raises(TechniqueError, match="no conv, linear, recurrent weights"):
        prune().apply(nn.Sequential(nn.ReLU()), context)
    with pytest.raises(TechniqueError, match="biases and norms are not pruned"):
        prune(tensors=("*.bias",)).apply(digits.dense(), context)
    with pytest.raises(ConfigError, match=r"fits no tensor.*'fc1'"):
        prune(density={"fc1": 0.1}).apply(digits.dense(), context)
    broken = digits.dense()
    broken[2].weight.data[0, 0] = float("nan")
    with pytest.raises(TechniqueError, match=r"2\.weight: weights are NaN"):
        prune().apply(broken, context)


def test_without_data_retraining_is_refused_and_pruning_alone_works(digits):
    context = digits.context(train=False)
    with pytest.raises(TaskError, match="no train data"):
        prune(density=0.5).apply(digits.dense(), context)
    assert overall(prune(density=0.5, epochs=0).apply(digits.dense(), context)) == pytest.approx(0.5, abs=1e-4)
