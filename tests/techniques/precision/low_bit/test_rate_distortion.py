import copy

import pytest
import torch
from torch import nn

from featherweight.core.task import Task, Training
from featherweight.encodings.attach import encodings_of
from featherweight.encodings.codebook import Codebook
from featherweight.encodings.dense import Dense
from featherweight.encodings.payload import coded_bytes
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError, TechniqueError
from featherweight.recipes.recipe import Recipe
from featherweight.techniques.precision.low_bit.half import Half
from featherweight.techniques.precision.low_bit.rate_distortion import RateDistortion
from featherweight.techniques.pruning.connection.magnitude import Magnitude
from featherweight.training.context import TaskContext


def coded(model):
    return sum(coded_bytes(encoding) for encoding in encodings_of(model).values())


def dense_bytes(model):
    return 4 * sum(parameter.numel() for parameter in model.parameters())


class Images(nn.Module):
    """Convolutions, one of them depthwise, with and without batch norm."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.last = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(torch.relu(self.deep(torch.relu(self.norm(self.first(x))))).mean(dim=(2, 3)))


@pytest.fixture
def images():
    torch.manual_seed(0)
    inputs = torch.randn(200, 1, 8, 8) + 0.5
    model = Images().eval()
    with torch.no_grad():
        model.norm.running_mean.copy_(model.first(inputs).mean(dim=(0, 2, 3)))
        model.norm.running_var.copy_(model.first(inputs).var(dim=(0, 2, 3)))
    labels = torch.zeros(200, dtype=torch.int64)
    task = Task(model=model, example=inputs[:1], calibration=(inputs, labels), training=Training(batch_size=16))
    return model, inputs, TaskContext(task)


def test_without_data_a_tenth_of_the_size_costs_little(digits):
    context = digits.context(train=False)
    model = RateDistortion(noise=0.1).apply(digits.dense(), context)
    assert dense_bytes(model) > 8 * coded(model)
    assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.01
    kinds = {name: type(encoding) for name, encoding in encodings_of(model).items()}
    assert kinds == {f"{layer}.{part}": Uniform for layer in (0, 2, 4) for part in ("weight", "bias")}
    assert context.details["bytes"] == coded(model)
    assert 2 < context.details["bits"]["0.weight"] < 5


def test_calibrated_on_real_data_a_sixteenth_of_the_size_is_as_good(digits):
    """Where errors hurt is told by predictions on examples alone; the same size without data costs more."""
    scores = {}
    for sensitivity in ("energy", "hessian"):
        step = RateDistortion(ratio=16, sensitivity=sensitivity)
        model = step.apply(digits.dense(), digits.context())
        assert dense_bytes(model) >= 16 * coded(model)
        with torch.no_grad():
            wanted = digits.dense()(digits.held_inputs).log_softmax(1)
            given = model(digits.held_inputs).log_softmax(1)
        scores[sensitivity] = float((wanted.exp() * (wanted - given)).sum(1).mean())
        assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.02
    assert scores["hessian"] < 0.8 * scores["energy"]


@pytest.mark.parametrize("sensitivity", ["energy", "fisher", "hessian"])
def test_less_noise_is_more_bytes_and_less_error(digits, sensitivity):
    sizes, errors = [], []
    for noise in (0.02, 0.06, 0.2):
        model = RateDistortion(noise=noise, sensitivity=sensitivity).apply(digits.dense(), digits.context())
        sizes.append(coded(model))
        with torch.no_grad():
            errors.append(float((model(digits.inputs) - digits.dense()(digits.inputs)).square().mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert sizes[0] > 1.5 * sizes[-1]


@pytest.mark.parametrize(
    "settings",
    [{"sensitivity": "energy"}, {"sensitivity": "fisher"}, {"sensitivity": "hessian"}, {"dependent": True}],
)
@pytest.mark.parametrize("budget", [12_000, 30_000])
def test_the_budget_is_met_and_used(digits, settings, budget):
    model = RateDistortion(budget_bytes=budget, **settings).apply(digits.dense(), digits.context())
    assert 0.95 * budget < coded(model) <= budget


def test_a_budget_that_no_step_meets(digits):
    with pytest.raises(TechniqueError, match="no step makes"):
        RateDistortion(budget_bytes=100).apply(digits.dense(), digits.context())


def test_the_noise_is_what_it_says(digits):
    model = RateDistortion(noise=0.01, rounding=0.0).apply(digits.dense(), digits.context())
    for name, weight in digits.dense().state_dict().items():
        if weight.dim() > 1:
            off = (model.state_dict()[name] - weight).square().mean().sqrt()
            noise = 0.01 * (weight.numel() / 65536) ** 0.5
            assert float(off / weight.square().mean().sqrt()) == pytest.approx(noise, rel=0.1)


def test_the_noise_of_large_tensors_grows_no_more():
    """A matrix of a language model, of four million weights, would lose an eighth of its size to rounding otherwise."""
    weight = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(0))
    found = RateDistortion(noise=0.02, rounding=0.0).encode("w.weight", weight, None).to_tensor()
    off = (found - weight).square().mean().sqrt() / weight.square().mean().sqrt()
    assert float(off) == pytest.approx(0.02 * 20**0.5, rel=0.1)


@pytest.mark.parametrize("sensitivity", ["energy", "hessian"])
def test_the_trellis_has_less_error_at_the_same_size(digits, sensitivity):
    errors = {}
    for dependent in (False, True):
        step = RateDistortion(ratio=12, dependent=dependent, sensitivity=sensitivity)
        model = step.apply(digits.dense(), digits.context())
        assert encodings_of(model)["0.weight"].dependent == dependent
        with torch.no_grad():
            off = model[0](digits.inputs) - digits.dense()[0](digits.inputs)
        if sensitivity == "energy":
            off = model[0].weight.detach() - digits.dense()[0].weight.detach()
        errors[dependent] = float(off.square().sum())
    assert errors[True] < 0.97 * errors[False]


def test_correction_restores_the_mean(images):
    model, inputs, context = images
    off = {}
    for correction in (False, True):
        step = RateDistortion(noise=0.3, sensitivity="fisher", correction=correction, vectors=0.0, rounding=0.0)
        changed = step.apply(copy.deepcopy(model), context)
        with torch.no_grad():
            now = changed.norm(changed.first(inputs)).mean(dim=(0, 2, 3))
            then = model.norm(model.first(inputs)).mean(dim=(0, 2, 3))
            deep = torch.relu(model.norm(model.first(inputs)))
            bias = (changed.deep(deep) - model.deep(deep)).mean(dim=(0, 2, 3))
        off[correction] = float((now - then).abs().max()), float(bias.abs().max())
    assert off[True][0] < 1e-4 < 1e-2 < off[False][0]
    assert off[True][1] < 1e-4 < 1e-3 < off[False][1]


def test_vectors_are_kept_finely_or_left(images):
    model, _, context = images
    fine = encodings_of(RateDistortion().apply(copy.deepcopy(model), context))
    assert isinstance(fine["norm.running_mean"], Uniform)
    assert isinstance(fine["norm.running_var"], Dense)
    assert fine["norm.running_var"].stored == torch.bfloat16
    for name in ("norm.weight", "last.bias", "norm.running_mean"):
        before = model.state_dict()[name]
        off = (fine[name].to_tensor() - before).square().mean().sqrt()
        assert float(off) <= 2 * 0.002 * float(before.square().mean().sqrt())
    assert set(encodings_of(RateDistortion(vectors=0).apply(copy.deepcopy(model), context))) == {
        "first.weight",
        "deep.weight",
        "last.weight",
    }


def test_zeros_of_pruned_tensors_stay(digits):
    model = Magnitude(density=0.1, epochs=0).apply(digits.dense(), digits.context())
    masks = {name: encoding.mask for name, encoding in encodings_of(model).items()}
    RateDistortion(sensitivity="hessian", noise=0.1).apply(model, digits.context())
    for name, mask in masks.items():
        assert bool((model.get_parameter(name)[~mask] == 0).all())
        assert isinstance(encodings_of(model)[name], Uniform)


def test_patterns_take_what_they_name_and_nothing_else(digits):
    model = RateDistortion(tensors=("2", "0.bias")).apply(digits.dense(), digits.context())
    assert set(encodings_of(model)) == {"2.weight", "2.bias", "0.bias"}
    with pytest.raises(ConfigError, match="fits no tensor"):
        RateDistortion(tensors=("fc1",)).apply(digits.dense(), digits.context())


@pytest.mark.parametrize("name", ["2.weight", "0.bias"])
def test_weights_that_are_no_numbers(digits, name):
    model = digits.dense()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = float("nan")
    with pytest.raises(TechniqueError, match="NaN or infinite"):
        RateDistortion().apply(model, digits.context())
    with pytest.raises(TechniqueError, match="NaN or infinite"):
        RateDistortion().encode(name, model.get_parameter(name), None)


def test_tensor_by_tensor_gives_the_same(digits):
    step, model = RateDistortion(noise=0.08), digits.dense()
    assert step.needs_model() is None
    whole = encodings_of(step.apply(digits.dense(), digits.context()))
    assert set(step.names(model)) == set(whole)
    for name, parameter in model.named_parameters():
        alone = step.encode(name, parameter.detach(), None)
        assert torch.equal(alone.to_tensor(), whole[name].to_tensor())
        assert torch.equal(alone.levels, whole[name].levels)
    assert "data" in RateDistortion(sensitivity="fisher").needs_model()
    assert "budget" in RateDistortion(ratio=8).needs_model()


@pytest.mark.parametrize("sensitivity", ["energy", "fisher", "hessian"])
def test_steps_of_rows_make_up_for_rows_of_unlike_size(digits, sensitivity):
    """A layer whose rows are scaled, and scaled back behind it: what folding a batch norm does."""
    model, scale = digits.dense(), torch.logspace(-1.5, 1.5, 300)
    with torch.no_grad():
        model[0].weight *= scale[:, None]
        model[0].bias *= scale
        model[2].weight /= scale
    off = {}
    for rows in (0.0, 1.0):
        step = RateDistortion(sensitivity=sensitivity, budget_bytes=6000, rows=rows, tensors=("0.weight",))
        made = step.apply(copy.deepcopy(model), digits.context())
        assert encodings_of(made)["0.weight"].step.shape == (300 if rows else 1,)
        assert coded(made) <= 6000
        off[rows] = float((_answers(made, digits) - _answers(model, digits)).square().mean())
    assert off[1.0] < off[0.0]


def _answers(model, digits):
    with torch.no_grad():
        return model(digits.inputs)


def test_half_precision_afterwards_changes_no_level(digits):
    model = RateDistortion(noise=0.1).apply(digits.dense(), digits.context())
    before = {name: encoding.levels for name, encoding in encodings_of(model).items()}
    Half().apply(model, digits.context())
    assert all(torch.equal(encoding.levels, before[name]) for name, encoding in encodings_of(model).items())


def test_what_is_rounded_by_size_takes_little_memory():
    """So that several large tensors are in work at a time when a checkpoint is streamed."""
    plain = RateDistortion().working_bytes
    assert plain <= 16
    for settings in ({"rows": 0.5}, {"dependent": True}, {"rounding": 0.0}):
        assert RateDistortion(**settings).working_bytes > 2 * plain


def test_shared_weights_are_rounded_afresh(digits):
    model = digits.dense()
    weight = model[0].weight.detach()
    with torch.no_grad():
        weight.copy_(Codebook.of(weight, torch.linspace(-1, 1, 9)).to_tensor())
    RateDistortion(noise=0.1).apply(model, digits.context())
    assert isinstance(encodings_of(model)["0.weight"], Uniform)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"noise": 0.0}, "noise"),
        ({"noise": 1.0}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"vectors": -0.1}, "vectors"),
        ({"rounding": 5.0}, "rounding"),
        ({"rows": -0.5}, "rows"),
        ({"rows": 1.5}, "rows"),
        ({"budget_bytes": 0}, "no such budget"),
        ({"ratio": 1.0}, "no such budget"),
        ({"ratio": 2.0, "budget_bytes": 3}, "second time"),
        ({"examples": 0}, "examples"),
    ],
)
def test_settings_out_of_range(settings, match):
    with pytest.raises(ConfigError, match=match):
        RateDistortion(**settings)


@pytest.mark.parametrize("name", ["weights_only", "calibrated"])
def test_the_recipes_of_the_library_use_it(name):
    steps = Recipe.read(name).steps
    assert any(isinstance(step.settings, RateDistortion) for step in steps)
    if name == "weights_only":
        assert all(step.settings.needs_model() is None for step in steps)
