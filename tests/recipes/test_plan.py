import pytest
from tests.recipes.conftest import one, recipe
from torch import nn

from featherweight.core.task import Task
from featherweight.errors import UsageError
from featherweight.recipes.plan import plan
from featherweight.recipes.recipe import Recipe, Step


def test_each_step_says_what_it_would_change() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3), nn.LSTM(3, 3))
    steps = recipe(Step.of("pruning.connection.magnitude", density=0.1), Step.of("representation.sharing.kmeans"))
    first, second = plan(steps, model)
    weights = ("0.weight", "3.weight", "4.weight_ih_l0", "4.weight_hh_l0")
    assert first.tensors == second.tensors == weights
    assert first.weights == 36 + 48 + 36 + 36
    assert (first.index, second.index) == (0, 1)
    assert first.technique == "pruning.connection.magnitude"
    assert first.settings["density"] == 0.1


def test_patterns_choose_by_tensor_or_layer() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    step = Step.of("representation.sharing.kmeans", tensors=["1", "0.bias"])
    assert plan(recipe(step), model)[0].tensors == ("0.bias", "1.weight", "1.bias")


def test_a_technique_that_does_not_say_may_change_everything(task: Task) -> None:
    planned = plan(recipe(one("fake.noise", 0.1, True)), task.model)[0]
    assert planned.tensors == tuple(name for name, _ in task.model.named_parameters())
    assert (planned.max_drop, planned.required) == (0.1, True)


def test_a_step_without_work_is_refused() -> None:
    with pytest.raises(UsageError, match=r"step 1 \(pruning\.connection\.magnitude\).*LayerNorm"):
        plan(Recipe.read("deep_compression"), nn.Sequential(nn.LayerNorm(3)))


def test_a_bare_checkpoint_has_weights_by_shape() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(nn.Linear(3, 2).weight), nn.Parameter(nn.Linear(3, 2).bias)

    holder = nn.Module()
    holder.fc = Holder()
    assert plan(recipe(Step.of("representation.sharing.kmeans")), holder)[0].tensors == ("fc.weight",)
