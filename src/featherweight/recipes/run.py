"""Runs a recipe: the techniques one after the other, each guarded, measured, written down and resumable."""

import copy
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featherweight.container import pack
from featherweight.core import config
from featherweight.core.version import VERSION
from featherweight.errors import DivergedError, TaskError, TechniqueError, TraceError, UsageError
from featherweight.graph.ir import Graph
from featherweight.graph.log import sketch
from featherweight.graph.trace import trace
from featherweight.profiling.profile import Profile, profile
from featherweight.recipes.environment import environment, fingerprint
from featherweight.recipes.guard import Outcome, Trial, floor_of, hold
from featherweight.recipes.ledger import Entry, Ledger, json_safe
from featherweight.recipes.recipe import Recipe, Step
from featherweight.recipes.result import Result
from featherweight.recipes.store import RunStore, opened
from featherweight.recipes.structure import apply_settings, changed, regrown, settings_of, settle, structure_of
from featherweight.recipes.tiers import coders
from featherweight.techniques.base import Technique
from featherweight.training.checks import SPLITS
from featherweight.training.context import TaskContext
from featherweight.training.enforce import move
from featherweight.training.loop import accelerator


def compress(
    model: nn.Module,
    recipe: Recipe | str | Path,
    context: TaskContext,
    *,
    run_dir: str | Path | None = None,
    allow_env_change: bool = False,
) -> Result:
    """Applies a recipe to a copy of `model`; the model itself stays as it is.

    With `run_dir` everything is kept there as it is done: a run that was stopped or killed at any moment goes on when
    the same call is made again, and ends with the same bytes in `run_dir/result.fwt` as if it had never stopped (same
    kind of machine, torch and thread count; `allow_env_change` gives that promise up). The first SIGINT or SIGTERM
    stops after the running training step, the second at once.

    Raises: ConfigError and UnknownNameError for a recipe that is none, TaskError and DataError for a task that does
    not fit together, GuardError for a required step that costs too much, LockedError when another process works in
    `run_dir`, UsageError when `run_dir` holds another run, InterruptedRunError after a signal.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    _check_guards(recipe, context)
    own = move(_copy(model), context.device)
    context.check(own)
    if run_dir is None:
        return _Run(recipe, context, None).go(own)
    if accelerator(context.device).num_processes > 1:
        raise UsageError("a run directory takes one process", where=str(run_dir), fix="Leave run_dir out.")
    with opened(run_dir) as store:
        store.claim(_identity(recipe, context, model), allow_env_change=allow_env_change)
        return _Run(recipe, context, store).go(own)


class _Run:
    """A recipe on its way through a model."""

    def __init__(self, recipe: Recipe, context: TaskContext, store: RunStore | None) -> None:
        self.recipe, self.context, self.store = recipe, context, store
        self.coders = coders(recipe.coder)
        self.scored = context.has("validation")
        self.ledger = Ledger()
        self.graph: Graph | None = None

    def go(self, model: nn.Module) -> Result:
        """Does what is left to do and gives the result."""
        source = fingerprint(model)
        self.structure, self.origin = structure_of(model), sketch(model)
        self.graph = self._traced(model)
        self._take_up(model)
        state = self._profile(model)
        score = self._first_score(model)
        self.start = self.ledger[0].score_before if len(self.ledger) else score
        for index in range(len(self.ledger), len(self.recipe.steps)):
            model, entry = self._step(index, model, state, score)
            state, score = self._profile(model), entry.score_after
            self._keep(model, replace(entry, after=json_safe(state.summary())))
        return self._result(model, state, source)

    # one step ----------------------------------------------------------------------------------------------------

    def _step(self, index: int, model: nn.Module, before: Profile, score: float | None) -> tuple[nn.Module, Entry]:
        step, start = self.recipe.steps[index], time.monotonic()
        self.context.progress.note(f"step {index + 1} of {len(self.recipe.steps)}: {step.use}")
        floor = floor_of(step, self.recipe.max_drop, score, self.start)
        details: dict[str, Any] = {}
        settings, after, verdict = step.settings, score, None
        if floor is None or score is None:
            lent = self.context.at_step(index, run=self.store)
            model, details = self._applied(step, step.settings, model, lent), lent.details
            after = self._score(lent, model)
        else:
            outcome = self._guarded(index, step, model, (score, floor))
            verdict = outcome.verdict
            if outcome.trial is not None and outcome.trial.model is not None:
                kept = outcome.trial
                model, settings, after, details = outcome.trial.model, kept.settings, kept.score, kept.details
        entry = Entry(
            index=index,
            technique=step.use,
            settings=config.to_dict(settings),
            seed=self.context.seed,
            seconds=round(time.monotonic() - start, 3),
            before=json_safe(before.summary()),
            after={},
            score_before=score,
            score_after=after,
            guard=verdict,
            details=details,
        )
        return model, entry

    def _guarded(self, index: int, step: Step, model: nn.Module, scores: tuple[float, float]) -> Outcome:
        """The step under its guard, each attempt on a copy of the model; `scores` are that before and the least."""

        def attempt(settings: Technique, number: int, floor: float) -> Trial:
            lent = self.context.at_step(index, number, self.store)
            made: list[nn.Module] = []

            def score() -> float | None:
                try:
                    made.append(self._applied(step, settings, copy.deepcopy(model), lent))
                    return lent.evaluate(made[0])
                except DivergedError:
                    return None

            found = lent.remember("score", score)
            if found is not None and found >= floor and not made:
                # an earlier sitting got this far: its trainings are put back, not done again
                lent = self.context.at_step(index, number, self.store)
                made.append(self._applied(step, settings, copy.deepcopy(model), lent))
            told = "gives no numbers" if found is None else f"scores {found:.5f}"
            self.context.progress.note(f"{step.use}: attempt {number + 1} {told}, at least {floor:.5f} wanted")
            return Trial(settings, found, made[0] if made else None, lent.details)

        return hold(step, scores[0], scores[1], attempt)

    def _applied(self, step: Step, settings: Technique, model: nn.Module, lent: TaskContext) -> nn.Module:
        """The model after the technique, its weights exactly what their encodings hold."""
        done = settings.apply(model, lent)
        if not isinstance(done, nn.Module):
            raise TechniqueError("apply() must give a model", where=step.use, value=type(done).__name__)
        settle(done)
        return done

    # state -------------------------------------------------------------------------------------------------------

    def _keep(self, model: nn.Module, entry: Entry) -> None:
        """Writes a finished step down; the run goes on with exactly what was written.

        A model whose structure is another than the user's, and whose log does not tell how it came about, cannot be
        read back into the user's model. Then the trainings of the step stay, and a later sitting does the step again
        without training.
        """
        self.ledger = self.ledger.with_entry(entry)
        if self.store is None:
            return
        again = regrown(self.origin, model)
        if again is not None:
            path = self.store.step_path(entry.index)
            pack.save(path, model, coders=self.coders)
            pack.load(path, into=model)
            self.store.keep_step_notes(entry.index, {"settings": changed(settings_of(again), settings_of(model))})
            self.store.keep_ledger(self.ledger)
            self.store.drop_training(entry.index)
        else:
            self.store.keep_ledger(self.ledger)

    def _take_up(self, model: nn.Module) -> None:
        """Puts the model, in place, into the state after the last step that an earlier sitting finished."""
        if self.store is None:
            return
        entries = list(self.store.ledger())
        while entries:
            notes = self.store.step_notes(entries[-1].index)
            if notes is not None:
                pack.load(self.store.step_path(entries[-1].index), into=model)
                apply_settings(model, notes["settings"])
                break
            entries.pop()
        self.ledger = Ledger(tuple(entries))
        if entries:
            self.context.progress.note(f"taken up after step {len(entries)} of {len(self.recipe.steps)}")

    # figures -----------------------------------------------------------------------------------------------------

    def _first_score(self, model: nn.Module) -> float | None:
        if len(self.ledger):
            return self.ledger[-1].score_after
        return self.context.evaluate(model) if self.scored else None

    def _score(self, lent: TaskContext, model: nn.Module) -> float | None:
        return lent.evaluate(model) if self.scored else None

    def _profile(self, model: nn.Module) -> Profile:
        if structure_of(model) != self.structure:
            return profile(model, self.context.example)
        return profile(model, self.context.example, graph=self.graph)

    def _traced(self, model: nn.Module) -> Graph | None:
        if not self.context.example:
            return None
        try:
            return trace(model, self.context.example)
        except TraceError as error:
            self.context.progress.note(f"The file will hold weights only, and load into your own model: {error}")
            return None

    def _result(self, model: nn.Module, state: Profile, source: str) -> Result:
        graph = self.graph if structure_of(model) == self.structure else self._traced(model)
        provenance = {
            "featherweight": VERSION,
            "torch": str(torch.__version__),
            "task": self.context.task.name,
            "seed": self.context.seed,
            "source_sha256": source,
        }
        result = Result(
            model=move(model, torch.device("cpu")),
            recipe=self.recipe,
            ledger=self.ledger,
            profile=state,
            graph=graph,
            provenance=provenance,
        )
        if self.store is None:
            return result
        report = result.save(self.store.result_path)
        return replace(result, profile=state.with_file(report.total_bytes))


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise TaskError(
            f"the model cannot be copied: {error}",
            where=type(model).__name__,
            fix="Detach tensors that hang on a graph, and keep locks, files and generators out of the model.",
        ) from error


def _check_guards(recipe: Recipe, context: TaskContext) -> None:
    guarded = recipe.max_drop is not None or any(step.max_drop is not None for step in recipe.steps)
    if guarded and not context.has("validation"):
        raise UsageError(
            "max_drop needs validation data, and the task has none",
            where=recipe.name,
            fix="Give Task(..., validation=...), or leave max_drop out.",
        )


def _identity(recipe: Recipe, context: TaskContext, model: nn.Module) -> dict[str, Any]:
    """What makes a run this run and no other; compared before a run directory is taken up."""
    splits = {split: len(context.task.examples(split)) for split in SPLITS if context.has(split)}
    return {
        "format": 1,
        "recipe": recipe.to_dict(),
        "seed": context.seed,
        "device": str(context.device),
        "task": context.task.name,
        "training": asdict(context.training),
        "examples": splits,
        "model": fingerprint(model),
        "environment": environment(),
    }
