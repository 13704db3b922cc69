from dataclasses import replace

import pytest
import torch
from tests.training.conftest import MemoryStore, Sealed, network

from featherweight.core.context import Context, Finetuning
from featherweight.core.task import Task
from featherweight.errors import ConfigError, DataError, InterruptedRunError, TaskError, UsageError
from featherweight.training.context import TaskContext


def test_it_is_a_context(task) -> None:
    context: Context = TaskContext(task)
    assert context.device == torch.device("cpu")
    assert torch.equal(context.example[0], task.example)
    assert context.training is task.training


def test_it_evaluates_and_trains_without_reading_test_data(task) -> None:
    context = TaskContext(task)
    model = network()
    context.check(model)
    before = context.evaluate(model)
    report = context.finetune(model, Finetuning(epochs=5, learning_rate=3e-3))
    assert report.steps == 5 * 19
    assert context.evaluate(model) > before + 0.3
    assert context.evaluate(model, "train") > 0.9


@pytest.mark.parametrize("split", ["test", "tests", "model"])
def test_only_three_splits_are_lent(task, split: str) -> None:
    context = TaskContext(replace(task, test=Sealed()))
    with pytest.raises(UsageError, match=split):
        context.evaluate(network(), split)
    with pytest.raises(UsageError, match=split):
        next(context.batches(split))


def test_missing_data_are_named() -> None:
    context = TaskContext(Task(model=network(), example=torch.zeros(1, 64)))
    assert not context.has("validation")
    assert not context.has("calibration")
    with pytest.raises(TaskError, match="no validation data"):
        context.evaluate(network())
    with pytest.raises(TaskError, match="no train data"):
        context.finetune(network(), Finetuning(epochs=1, learning_rate=0.1))


def test_calibration_falls_back_to_what_there_is(task) -> None:
    assert TaskContext(task).has("calibration")
    assert TaskContext(replace(task, train=None)).has("calibration")
    batches = list(TaskContext(task).batches(limit=100))
    assert [len(batch.target) for batch in batches] == [64, 36]
    assert torch.equal(batches[0].inputs[0], task.train[0][:64])


def test_random_numbers_depend_on_seed_step_and_purpose_alone(task) -> None:
    def draw(context: TaskContext, *words: str | int) -> float:
        return torch.rand((), generator=context.generator(*words)).item()

    context = TaskContext(task, seed=1)
    reference = draw(context, "start", 3)
    assert draw(context, "start", 3) == reference
    assert draw(TaskContext(task, seed=1), "start", 3) == reference
    others = [
        draw(context, "start", 4),
        draw(TaskContext(task, seed=2), "start", 3),
        draw(context.at_step(1), "start", 3),
    ]
    assert reference not in others


def test_each_call_of_finetune_has_its_own_order(task) -> None:
    orders = []

    def watch(inputs, generator):
        orders.append(inputs[0].sum().item())
        return inputs

    context = TaskContext(replace(task, augment=watch))
    for _ in range(2):
        context.finetune(network(), Finetuning(epochs=1, learning_rate=1e-3))
    assert orders[:19] != orders[19:]


def test_finished_calls_are_replayed_in_another_sitting(task) -> None:
    def two_calls(context: TaskContext, on_step=None) -> torch.Tensor:
        model = network()
        for rate in (1e-3, 1e-2):
            context.finetune(model, Finetuning(epochs=1, learning_rate=rate), on_step=on_step)
        return model[0].weight.detach()

    def never(model, step, total) -> None:
        raise AssertionError("was trained again")

    store = MemoryStore()
    first = two_calls(TaskContext(task).at_step(2, 1, run=store))
    assert sorted(store.kept) == ["02/1-train-000", "02/1-train-001"]
    assert torch.equal(two_calls(TaskContext(task).at_step(2, 1, run=store), never), first)
    with pytest.raises(AssertionError, match="trained again"):
        two_calls(TaskContext(task).at_step(2, 2, run=store), never)


def test_attempts_at_one_step_draw_the_same_numbers(task) -> None:
    weights = []
    for attempt in (0, 1):
        model = network()
        TaskContext(task).at_step(1, attempt).finetune(model, Finetuning(epochs=1, learning_rate=1e-3))
        weights.append(model[0].weight.detach())
    assert torch.equal(*weights)


def test_remembered_values_are_computed_once_a_run(task) -> None:
    store, calls = MemoryStore(), []

    def compute():
        calls.append(1)
        return {"curve": ((0.5, 1.0), (1, None))}

    plain = {"curve": [[0.5, 1.0], [1, None]]}
    for _ in range(2):  # two sittings
        context = TaskContext(task).at_step(0, run=store)
        assert context.remember("scan", compute) == plain
        assert context.remember("scan", compute) == plain
    assert len(calls) == 1
    assert TaskContext(task).remember("scan", compute) == plain  # nothing kept: the same value


def test_remember_inside_remember(task) -> None:
    store = MemoryStore()
    context = TaskContext(task).at_step(0, run=store)
    assert context.remember("outer", lambda: context.remember("inner", lambda: 1) + 1) == 2
    again = TaskContext(task).at_step(0, run=store)
    assert again.remember("inner", lambda: 99) == 1
    assert again.remember("outer", lambda: 99) == 2


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, torch.zeros(2)])
def test_only_json_is_kept(task, value) -> None:
    context = TaskContext(task)
    with pytest.raises(ConfigError, match="curve"):
        context.record("curve", value)


def test_it_lends_the_loss_of_the_task(task) -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    usual = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.equal(TaskContext(task).loss(logits, labels), usual)
    own = TaskContext(replace(task, loss=lambda output, target: (output[:, 0] - target).sum()))
    assert float(own.loss(logits, labels)) == 2.0


def test_records_are_collected_for_the_ledger(task) -> None:
    context = TaskContext(task).at_step(0)
    context.record("density", {"a": (1, 2)})
    assert context.details == {"density": {"a": [1, 2]}}


def test_a_wish_to_stop_is_obeyed_between_pieces_of_work(task) -> None:
    context = TaskContext(task, run=MemoryStore(InterruptedRunError))
    for work in (
        lambda: context.evaluate(network()),
        lambda: context.finetune(network(), Finetuning(epochs=1, learning_rate=0.1)),
        lambda: context.remember("key", dict),
        lambda: list(context.batches()),
    ):
        with pytest.raises(InterruptedRunError):
            work()


def test_a_device_that_is_not_there(task) -> None:
    for device in ("cuda:77", "nonsense"):
        with pytest.raises(UsageError, match=device):
            TaskContext(task, device=device)


def test_data_that_do_not_fit_are_told_before_any_work(task) -> None:
    images, labels = task.train
    with pytest.raises(DataError, match=r"digits\.train"):
        TaskContext(replace(task, train=(images[:, :50], labels))).check(network())
