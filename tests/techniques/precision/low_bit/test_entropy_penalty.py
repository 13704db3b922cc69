import copy

import pytest
import torch
from torch import nn

from featherweight.container.pack import load
from featherweight.core.config import from_dict, to_dict
from featherweight.core.task import Task, Training
from featherweight.encodings import payload
from featherweight.encodings.attach import attach, encodings_of
from featherweight.encodings.dense import Dense
from featherweight.encodings.sparse import Sparse
from featherweight.encodings.uniform import Uniform
from featherweight.errors import ConfigError, InterruptedRunError, TechniqueError
from featherweight.recipes.recipe import Recipe
from featherweight.recipes.run import compress
from featherweight.techniques.precision.low_bit.entropy_penalty import EntropyPenalty
from featherweight.techniques.pruning.connection.magnitude import Magnitude
from featherweight.training.checkpoint import Saved
from featherweight.training.context import TaskContext


def coded(model):
    return sum(payload.coded_bytes(encoding) for encoding in encodings_of(model).values())


@pytest.fixture(scope="module")
def trained(digits):
    """Networks by penalty, and what was recorded (never changed by a test)."""
    found = {}
    for penalty in (0.0, 3e-6, 3e-5, 3e-4):
        context = digits.context()
        found[penalty] = (EntropyPenalty(penalty=penalty, epochs=6).apply(digits.dense(), context), context.details)
    return found


# what the catalogue asks for -----------------------------------------------------------------------------------------


def test_without_penalty_and_with_fine_steps_the_accuracy_stays(digits):
    model = EntropyPenalty(penalty=0.0, step=0.02, epochs=2).apply(digits.dense(), digits.context())
    assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.005
    rounded = EntropyPenalty(step=0.02, epochs=0).apply(digits.dense(), digits.context(train=False))
    assert digits.accuracy(rounded) >= digits.accuracy(digits.dense()) - 0.005


def test_the_size_falls_as_the_penalty_rises(trained):
    sizes = [coded(model) for model, _ in trained.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.25 * sizes[0]


def test_the_estimate_is_near_what_the_coders_take(trained):
    for penalty, close in ((0.0, 0.04), (3e-6, 0.04), (3e-5, 0.06)):
        model, details = trained[penalty]
        assert sum(details["estimated_bytes"].values()) == pytest.approx(coded(model), rel=close)


def test_a_tenth_of_the_bytes_keeps_the_accuracy(digits, trained):
    model, _ = trained[3e-5]
    plain = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert coded(model) < plain / 20
    assert digits.accuracy(model) >= digits.accuracy(digits.dense()) - 0.01


def test_the_encoded_network_computes_what_was_trained(digits):
    """Straight-through model and compressed model are the same function, bit for bit."""
    seen = {}

    class Watch:
        def __init__(self, context):
            self._context = context

        def __getattr__(self, name):
            return getattr(self._context, name)

        def finetune(self, model, settings, **hooks):
            report = self._context.finetune(model, settings, **hooks)
            with torch.no_grad():
                seen["outputs"] = model.eval()(digits.held_inputs)
            return report

    model = EntropyPenalty(penalty=1e-5, epochs=2).apply(digits.dense(), Watch(digits.context()))
    stored = copy.deepcopy(model)
    with torch.no_grad():
        for name, encoding in encodings_of(model).items():
            again = payload.decode(encoding.shape, *_parts(encoding))
            dict(stored.named_parameters())[name].copy_(again.to_tensor())
        assert torch.equal(stored.eval()(digits.held_inputs), seen["outputs"])


def _parts(encoding):
    packed = payload.encode(encoding)
    return packed.spec, packed.data


# settings ------------------------------------------------------------------------------------------------------------


def test_a_target_is_met(digits):
    context = digits.context()
    model = EntropyPenalty(target=1500, penalty=3e-5, epochs=15).apply(digits.dense(), context)
    assert sum(context.details["estimated_bytes"].values()) == pytest.approx(1500, rel=0.15)
    assert context.details["penalty"] != pytest.approx(3e-5)
    assert digits.accuracy(model) > 0.93


def test_dead_units_are_taken_out_when_asked(digits, trained):
    wide, _ = trained[3e-4]
    narrow = EntropyPenalty(penalty=3e-4, epochs=6, shrink=True).apply(digits.dense(), digits.context())
    assert [len(narrow[layer].bias) for layer in (0, 2)] != [300, 100]
    with torch.no_grad():
        assert torch.allclose(narrow(digits.held_inputs), wide(digits.held_inputs), atol=1e-4)
    assert coded(narrow) < coded(wide)
    assert all(torch.equal(e.to_tensor(), narrow.state_dict()[name]) for name, e in encodings_of(narrow).items())


def test_a_tensor_of_zeros_costs_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        model[0].bias.zero_()
    context = TaskContext(Task(model=model, example=torch.zeros(2, 4)))
    bias = encodings_of(EntropyPenalty(epochs=0).apply(model, context))["0.bias"]
    assert payload.encode(bias).data == b""
    assert torch.equal(bias.to_tensor(), torch.zeros(3))


def test_every_weight_is_a_whole_number_of_the_recorded_step(trained):
    model, details = trained[3e-6]
    assert set(details["step"]) == set(encodings_of(model))
    for name, parameter in model.named_parameters():
        step = torch.tensor(details["step"][name])
        assert torch.equal(parameter, (parameter / step).round() * step)


def test_what_was_pruned_stays_pruned(digits):
    model = Magnitude(density=0.2, epochs=1).apply(digits.dense(), digits.context())
    masks = {name: encoding.mask for name, encoding in encodings_of(model).items()}
    model = EntropyPenalty(penalty=0.0, step=0.1, epochs=1).apply(model, digits.context())
    tensors = dict(model.named_parameters())
    assert all(not (tensors[name] != 0)[~mask].any() for name, mask in masks.items())
    assert all(isinstance(encodings_of(model)[name], Sparse | Uniform) for name in masks)


def test_an_average_is_rounded_like_any_weights_and_keeps_zeros(digits):
    model = Magnitude(density=0.3, epochs=0).apply(digits.dense(), digits.context())
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters() if "weight" in name}
    context = digits.context()
    model = EntropyPenalty(penalty=1e-4, step=0.5, epochs=3, average=0.99).apply(model, context)
    for name, parameter in model.named_parameters():
        levels = parameter.detach() / context.details["step"][name]
        assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert all(not parameter[zeros[name]].any() for name, parameter in model.named_parameters() if name in zeros)
    assert digits.accuracy(model) > 0.93


def test_only_the_named_tensors_are_changed_in_kind(digits):
    model = digits.dense()
    attach(model, {"0.bias": Dense(model[0].bias.detach(), torch.float16)})
    model = EntropyPenalty(tensors=("2",), step={"2.weight": 0.5}, epochs=1).apply(model, digits.context())
    kinds = {name: type(encoding) for name, encoding in encodings_of(model).items()}
    assert kinds.pop("2.weight") in (Uniform, Sparse)
    assert kinds == {"0.bias": Dense}
    assert torch.equal(model[0].bias, model[0].bias.half().float())


def test_shared_tensors_are_refused(digits):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model[2].weight = model[0].weight
    with pytest.raises(TechniqueError, match=r"shared with 2\.weight"):
        EntropyPenalty(epochs=0).apply(model, digits.context(train=False))


@pytest.mark.parametrize(
    "wrong",
    [
        {"penalty": -1e-6},
        {"penalty": float("inf")},
        {"penalty": 0.0, "target": 100},
        {"target": -1},
        {"step": 0.0},
        {"step": {}},
        {"epochs": -1.0},
        {"learning_rate": 0.0},
        {"ramp": 1.5},
        {"average": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(reversed(wrong)) if len(wrong) == 1 else "penalty"):
        EntropyPenalty(**wrong)


def test_settings_come_back_from_plain_values():
    settings = EntropyPenalty(step={"*.weight": 2.0, "*.bias": 0.5}, target=1000)
    assert from_dict(EntropyPenalty, to_dict(settings)) == settings


def test_the_recipe_of_the_library_makes_small_files_that_run(digits, tmp_path):
    context = digits.context()
    result = compress(digits.dense(), Recipe.read("smallest"), context)
    report = result.save(tmp_path / "model.fwt")
    assert report.total_bytes < 4 * sum(p.numel() for p in digits.dense().parameters()) / 15
    assert digits.accuracy(load(tmp_path / "model.fwt")) >= digits.accuracy(digits.dense()) - 0.01


# runs ----------------------------------------------------------------------------------------------------------------


class Memory:
    """Keeps in memory what a run would keep in files, and asks once to stop, at the call it was told."""

    def __init__(self, stop_at=None):
        self.kept, self.stop_at, self.asked = {}, stop_at, 0

    def read(self, key):
        return self.kept.get(key)

    def write(self, key, saved):
        tensors = {name: tensor.clone() for name, tensor in saved.tensors.items()}
        self.kept[key] = Saved(copy.deepcopy(saved.meta), tensors)

    def stop_requested(self):
        self.asked += 1
        return InterruptedRunError if self.asked == self.stop_at else None


def _conv():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 10)
    )


@pytest.mark.parametrize("stop_at", [3, 40, 77])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(digits, stop_at):
    settings = EntropyPenalty(target=300, penalty=1e-4, epochs=2, ramp=0.4, shrink=True)
    images = (digits.inputs.reshape(-1, 1, 8, 8), digits.labels)
    task = Task(model=_conv, example=images[0][:1], train=images, training=Training(learning_rate=3e-3, batch_size=32))
    whole = settings.apply(_conv(), TaskContext(task))
    run = Memory(stop_at)
    with pytest.raises(InterruptedRunError):
        settings.apply(_conv(), TaskContext(task, run=run))
    resumed = settings.apply(_conv(), TaskContext(task, run=run))
    first, second = encodings_of(whole), encodings_of(resumed)
    assert first.keys() == second.keys()
    assert all(_parts(first[name]) == _parts(second[name]) for name in first)
