import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.recipes.conftest import Cut, Fail, one, recipe
from torch import nn

from featherweight.container.pack import load, open_file
from featherweight.core.task import Task
from featherweight.encodings.attach import encodings_of
from featherweight.encodings.uniform import Uniform
from featherweight.errors import DataError, DivergedError, GuardError, LockedError, TaskError, UsageError
from featherweight.graph.log import log_of
from featherweight.recipes.lock import owned
from featherweight.recipes.recipe import Recipe, Step
from featherweight.recipes.run import compress
from featherweight.training.context import TaskContext

SHARED = Step.of("representation.sharing.kmeans", bits=4, epochs=1)
PRUNED = Step.of("pruning.connection.magnitude", density=0.3, epochs=2)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_the_users_model_stays_untouched_and_test_data_unread(task: Task, state) -> None:
    before = state(task.model)
    result = compress(task.model, recipe(PRUNED, SHARED), TaskContext(task))
    assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())
    assert not same(result.model, task.model)
    assert task.model.training
    assert result.profile.density < 0.4


def test_the_ledger_says_what_was_done(task: Task) -> None:
    context = TaskContext(task, seed=5)
    result = compress(task.model, recipe(PRUNED, SHARED), context)
    first, second = result.ledger
    assert [first.technique, second.technique] == ["pruning.connection.magnitude", "representation.sharing.kmeans"]
    assert first.settings["density"] == 0.3
    assert first.settings["schedule"] == "gradual"  # defaults are spelt out
    assert (first.index, second.index, first.seed) == (0, 1, 5)
    assert first.score_before == context.evaluate(task.model)
    assert first.score_after == second.score_before
    assert second.score_after == context.evaluate(result.model)
    assert first.after == second.before
    assert first.before["encoded_bytes"] > first.after["encoded_bytes"] > second.after["encoded_bytes"]
    assert second.after == result.profile.summary()
    assert set(second.details["centroids"]) == {"0.weight", "4.weight"}
    assert first.guard is None
    assert first.seconds > 0


def test_the_same_seed_gives_the_same_file_and_another_does_not(task: Task, tmp_path: Path) -> None:
    files = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.fwt"
        compress(task.model, recipe(PRUNED, SHARED), TaskContext(task, seed=seed)).save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_run_directory_changes_nothing_about_the_result(task: Task, tmp_path: Path) -> None:
    steps = recipe(PRUNED, SHARED)
    kept = compress(task.model, steps, TaskContext(task), run_dir=tmp_path / "run")
    plain = compress(task.model, steps, TaskContext(task))
    assert same(kept.model, plain.model)
    plain.save(tmp_path / "plain.fwt")
    assert (tmp_path / "run/result.fwt").read_bytes() == (tmp_path / "plain.fwt").read_bytes()
    assert kept.profile.file_bytes == (tmp_path / "plain.fwt").stat().st_size
    left = sorted(path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*"))
    steps = [f"steps/{number}.{ending}" for number in ("00", "01") for ending in ("fwt", "json")]
    assert left == sorted(["ledger.json", "lock", "result.fwt", "run.json", "steps", "train", *steps])


def test_a_finished_run_is_read_back(task: Task, tmp_path: Path) -> None:
    steps = recipe(PRUNED, SHARED)
    first = compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    data = (tmp_path / "result.fwt").read_bytes()
    second = compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert second.ledger == first.ledger
    assert same(second.model, first.model)
    assert (tmp_path / "result.fwt").read_bytes() == data


def test_what_a_file_of_weights_lacks_is_kept_beside_it(task: Task, tmp_path: Path) -> None:
    steps = recipe(one("fake.tune", dropout=0.4), one("fake.fail"), one("fake.tune"))
    straight = compress(task.model, steps, TaskContext(task))
    Fail.up.append(True)
    with pytest.raises(KeyboardInterrupt):
        compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert json.loads((tmp_path / "steps/00.json").read_text()) == {"settings": {"3": {"p": 0.4}}}
    Fail.up.clear()
    assert same(compress(task.model, steps, TaskContext(task), run_dir=tmp_path).model, straight.model)


def test_a_step_that_makes_another_network_is_done_again_without_training(task: Task, tmp_path: Path) -> None:
    steps = recipe(PRUNED, one("fake.narrow"), one("fake.fail"), SHARED)
    straight = compress(task.model, steps, TaskContext(task))
    Fail.up.append(True)
    with pytest.raises(KeyboardInterrupt):
        compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert not (tmp_path / "steps/01.fwt").exists()
    assert list((tmp_path / "train/01").iterdir())
    Fail.up.clear()
    resumed = compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert same(resumed.model, straight.model)
    assert resumed.model[0].out_features == 16
    straight.save(tmp_path / "straight.fwt")
    assert (tmp_path / "result.fwt").read_bytes() == (tmp_path / "straight.fwt").read_bytes()


def test_a_step_of_surgery_is_taken_up_and_not_done_again(task: Task, tmp_path: Path) -> None:
    plan = recipe(one("fake.cut"), one("fake.cut"), one("fake.fail"), SHARED)
    straight = compress(task.model, plan, TaskContext(task))
    Cut.runs.clear()
    Fail.up.append(True)
    with pytest.raises(KeyboardInterrupt):
        compress(task.model, plan, TaskContext(task), run_dir=tmp_path)
    assert json.loads((tmp_path / "steps/00.json").read_text()) == {"settings": {"3": {"p": 0.05}}}
    assert not (tmp_path / "train/01").exists()
    Fail.up.clear()
    resumed = compress(task.model, plan, TaskContext(task), run_dir=tmp_path)
    assert Cut.runs == [1, 1]
    assert same(resumed.model, straight.model)
    assert [type(layer).__name__ for layer in resumed.model] == [type(layer).__name__ for layer in straight.model]
    assert log_of(resumed.model) == log_of(straight.model)
    straight.save(tmp_path / "straight.fwt")
    assert (tmp_path / "result.fwt").read_bytes() == (tmp_path / "straight.fwt").read_bytes()
    assert task.model[0].out_features == 32
    assert load(tmp_path / "result.fwt", into=copy.deepcopy(task.model))[0].out_features == 8


# guard ---------------------------------------------------------------------------------------------------------------


def test_a_technique_that_ruins_accuracy_is_backed_off(task: Task) -> None:
    result = compress(task.model, recipe(one("fake.noise", max_drop=0.02, amount=2.0)), TaskContext(task))
    entry = result.ledger[0]
    assert entry.guard.verdict == "backed_off"
    assert [attempt.strength for attempt in entry.guard.attempts][:2] == [2.0, 1.0]
    assert len(entry.guard.attempts) == 5
    assert 0 < entry.settings["amount"] < 2.0
    assert entry.details == {"amount": entry.settings["amount"]}
    assert entry.score_after >= entry.score_before - 0.02
    assert entry.score_after == TaskContext(task).evaluate(result.model)


def test_a_technique_that_always_ruins_accuracy_is_refused(task: Task) -> None:
    result = compress(task.model, recipe(one("fake.nan", max_drop=0.5), PRUNED), TaskContext(task))
    refused, after = result.ledger
    assert refused.guard.verdict == "refused"
    assert {attempt.score for attempt in refused.guard.attempts} == {None}
    assert refused.settings == {"level": 8}
    assert refused.score_after == refused.score_before
    assert refused.after == refused.before
    straight = compress(task.model, recipe(one("fake.fail"), PRUNED), TaskContext(task))
    assert same(result.model, straight.model)
    assert after.score_before == refused.score_after


def test_a_required_step_ends_the_run_and_keeps_what_was_done(task: Task, tmp_path: Path) -> None:
    steps = recipe(PRUNED, one("fake.nan", max_drop=0.1, required=True))
    with pytest.raises(GuardError, match=r"fake\.nan"):
        compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert len(json.loads((tmp_path / "ledger.json").read_text())) == 1
    assert (tmp_path / "steps/00.fwt").is_file()
    assert not (tmp_path / "result.fwt").exists()


def test_the_whole_recipe_has_a_guard(task: Task) -> None:
    steps = recipe(*[one("fake.noise", amount=0.35)] * 6, max_drop=0.05)
    ledger = compress(task.model, steps, TaskContext(task)).ledger
    assert min(entry.score_after for entry in ledger) >= ledger[0].score_before - 0.05
    allowed = [entry.guard.max_drop for entry in ledger]
    spent = [ledger[0].score_before - entry.score_before for entry in ledger]
    assert allowed == [pytest.approx(0.05 - one) for one in spent]
    assert {"kept", "backed_off"} <= {entry.guard.verdict for entry in ledger} | {"kept"}
    assert any(entry.guard.verdict != "kept" for entry in ledger)


def test_without_a_guard_ruin_is_an_error(task: Task) -> None:
    with pytest.raises(DivergedError, match=r"digits\.validation.*NaN"):
        compress(task.model, recipe(one("fake.nan")), TaskContext(task))


def test_attempts_of_an_earlier_sitting_are_not_made_again(task: Task, tmp_path: Path, monkeypatch) -> None:
    steps = recipe(one("fake.noise", max_drop=0.02, amount=2.0), one("fake.fail"))
    straight = compress(task.model, steps, TaskContext(task))
    calls = []
    evaluate = TaskContext.evaluate

    def counted(self, model, split="validation"):
        calls.append(1)
        if len(calls) == 4:  # the first is the score before, so this is the third attempt
            raise KeyboardInterrupt
        return evaluate(self, model, split)

    monkeypatch.setattr(TaskContext, "evaluate", counted)
    with pytest.raises(KeyboardInterrupt):
        compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    calls[:] = [1] * 10
    resumed = compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    assert len(calls) == 10 + 1 + 3 + 1  # before, the attempts that were left, the second step
    assert same(resumed.model, straight.model)
    assert resumed.ledger[0].guard == straight.ledger[0].guard


# without data, and bad input -----------------------------------------------------------------------------------------


def test_weights_alone_need_no_data(task: Task, tmp_path: Path) -> None:
    bare = Task(model=task.model, example=task.example, name="bare")
    result = compress(task.model, "weights_only", TaskContext(bare))
    entry = result.ledger[0]
    assert (entry.score_before, entry.score_after, entry.guard) == (None, None, None)
    for name in ("0.weight", "4.weight"):
        weight, old = result.model.state_dict()[name], task.model.state_dict()[name]
        assert isinstance(encodings_of(result.model)[name], Uniform)
        assert float((weight - old).abs().max()) < 0.05 * float(old.abs().max())
    result.save(tmp_path / "a.fwt")
    model = load(tmp_path / "a.fwt")
    model.eval()
    assert torch.equal(model(task.example), result.model.eval()(task.example))


def test_a_checkpoint_that_cannot_run(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(40, 50))

        def forward(self, *inputs):
            raise TaskError("a checkpoint cannot be run")

    result = compress(Holder(), "weights_only", TaskContext(Task(model=Holder(), example=())))
    assert result.graph is None
    result.save(tmp_path / "a.fwt")
    assert same(load(tmp_path / "a.fwt", into=Holder()), result.model)


def test_guards_need_validation_data(task: Task) -> None:
    without = TaskContext(replace(task, validation=None))
    for steps in (recipe(PRUNED, max_drop=0.1), recipe(one("fake.noise", max_drop=0.1))):
        with pytest.raises(UsageError, match="max_drop needs validation data"):
            compress(task.model, steps, without)


def test_bad_models_and_data_are_told_before_any_work(task: Task, tmp_path: Path) -> None:
    broken = copy.deepcopy(task.model)
    with torch.no_grad():
        broken[0].weight[3, 3] = float("nan")
    with pytest.raises(TaskError, match=r"0\.weight"):
        compress(broken, recipe(PRUNED), TaskContext(task), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    images, labels = task.train
    with pytest.raises(DataError, match=r"digits\.train"):
        compress(task.model, recipe(PRUNED), TaskContext(replace(task, train=(images[:, :9], labels))))


def test_a_model_that_cannot_be_copied(task: Task) -> None:
    model = copy.deepcopy(task.model)
    model.hanging = model[0].weight * 2
    with pytest.raises(TaskError, match="cannot be copied"):
        compress(model, recipe(PRUNED), TaskContext(task))


def test_a_model_that_cannot_be_traced_is_compressed_all_the_same(task: Task, tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) if float(x.sum()) > -1e9 else x

    model = Stubborn(copy.deepcopy(task.model))
    result = compress(model, recipe(PRUNED), TaskContext(replace(task, model=model)))
    assert result.graph is None
    result.save(tmp_path / "a.fwt")
    assert same(load(tmp_path / "a.fwt", into=Stubborn(copy.deepcopy(task.model))), result.model)


def test_another_run_in_the_directory(task: Task, tmp_path: Path) -> None:
    steps = recipe(one("fake.fail"))
    compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    for other, context, what in (
        (recipe(PRUNED), TaskContext(task), "recipe"),
        (steps, TaskContext(task, seed=1), "seed"),
        (steps, TaskContext(replace(task, name="other")), "task"),
    ):
        with pytest.raises(UsageError, match=f"another {what}"):
            compress(task.model, other, context, run_dir=tmp_path)
    changed = copy.deepcopy(task.model)
    with torch.no_grad():
        changed[0].bias.add_(1)
    with pytest.raises(UsageError, match="another model"):
        compress(changed, steps, TaskContext(task), run_dir=tmp_path)


def test_another_environment(task: Task, tmp_path: Path) -> None:
    steps = recipe(one("fake.fail"))
    compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 64'))
    with pytest.raises(UsageError, match="threads was 64"):
        compress(task.model, steps, TaskContext(task), run_dir=tmp_path)
    compress(task.model, steps, TaskContext(task), run_dir=tmp_path, allow_env_change=True)
    assert '"threads": 64' not in path.read_text()


def test_two_owners(task: Task, tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(LockedError):
        compress(task.model, recipe(PRUNED), TaskContext(task), run_dir=tmp_path)


def test_recipes_by_name_and_text(task: Task) -> None:
    text = "name: own\nsteps: [{use: fake.noise, with: {amount: 0.01}}]\n"
    assert compress(task.model, text, TaskContext(task)).recipe == Recipe.read(text)


def test_the_file_tells_its_story_without_times(task: Task, tmp_path: Path) -> None:
    compress(task.model, recipe(PRUNED), TaskContext(task, seed=7), run_dir=tmp_path)
    with open_file(tmp_path / "result.fwt") as reader:
        told = {name: json.loads(bytes(data)) for name, data in reader.extras.items()}
    assert Recipe.from_dict(told["recipe"]) == recipe(PRUNED)
    assert "seconds" not in told["ledger"][0]
    assert told["provenance"]["seed"] == 7
    assert told["provenance"]["task"] == "digits"
