"""What `compress` and `resume` share: the order as it was given, kept in the run directory, and its execution."""

import json as json_text
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherweight.cli import summary
from featherweight.cli.late import Late
from featherweight.cli.output import check_source, check_target, news
from featherweight.cli.progress import shown, waiting
from featherweight.core import atomic
from featherweight.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from featherweight.core.task import Task
    from featherweight.frontends import resolve
    from featherweight.frontends import safetensors_files as files
    from featherweight.profiling import profile as profiling
    from featherweight.recipes import plan as plans
    from featherweight.recipes import recipe as recipes
    from featherweight.recipes import result as results
    from featherweight.recipes import run as runs
    from featherweight.recipes import stream as streams
    from featherweight.recipes import stream_result as stream_results
    from featherweight.training import context as contexts
else:
    contexts = Late("featherweight.training.context")
    files = Late("featherweight.frontends.safetensors_files")
    plans = Late("featherweight.recipes.plan")
    profiling = Late("featherweight.profiling.profile")
    recipes = Late("featherweight.recipes.recipe")
    resolve = Late("featherweight.frontends.resolve")
    results = Late("featherweight.recipes.result")
    runs = Late("featherweight.recipes.run")
    stream_results = Late("featherweight.recipes.stream_result")
    streams = Late("featherweight.recipes.stream")

ORDER, STATE = "order.json", "run.json"  # ours; and what recipes/store.py writes when a run has begun
RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call of `compress`: what, by which recipe (name, file or YAML text), to where.

    `max_drop` and `coder`, where they are not None, replace what the recipe says.
    """

    task: str
    recipe: str
    output: Path
    seed: int = 0
    device: str = "cpu"
    max_drop: float | None = None
    coder: str | None = None
    extras: bool = True

    def settled(self, recipe: "recipes.Recipe") -> "Job":
        """The same job, independent of the working directory and of later edits of the recipe's file."""
        file, colon, name = self.task.rpartition(":") if ".py:" in self.task else (self.task, "", "")
        task = f"{Path(file).resolve()}{colon}{name}"
        output, text = self.output.resolve(), recipe.to_yaml()
        return replace(self, task=task, recipe=text, output=output, max_drop=None, coder=None)

    def to_json(self) -> str:
        """The job as it is kept in a run directory."""
        return json_text.dumps(asdict(self) | {"output": str(self.output)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> "Job":
        """The job that `to_json` wrote. Raises: UsageError for anything else."""
        try:
            values = json_text.loads(text)
            known = {field.name for field in fields(cls)}
            job = cls(**{**values, "output": Path(values["output"])}) if set(values) <= known else None
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"the order is damaged: {error}", where=str(where), fix="Run `compress` again.") from error
        if job is None:
            raise UsageError("the order has unknown entries", where=str(where), fix="Run `compress` again.")
        return job


@dataclass(frozen=True)
class Place:
    """Where a run is kept, whether it may go on in another environment than it began in, on how many threads.

    `threads` counts where a checkpoint is streamed; 0: one for each core.
    """

    directory: Path | None
    allow_env_change: bool = False
    threads: int = 0


def plan(job: Job, *, json: bool) -> None:
    """Checks task, recipe, device and target, and prints what `start` would do; writes nothing."""
    with waiting("checking", quiet=json):
        order = _prepared(job)
        steps = plans.plan(order.recipe, order.model())
        totals = order.totals(job)
    summary.plan(summary.Plan(job.output, job.seed, order.recipe, order.task, steps, totals), json=json)


def start(job: Job, place: Place, *, json: bool) -> None:
    """Runs a job from its beginning, or from where the same job was stopped in the directory of `place`."""
    with waiting("checking", quiet=json):
        order = _prepared(job)
    directory = _made(place.directory, f"{order.name}-{order.recipe.name}")
    text = job.settled(order.recipe).to_json()
    kept = directory / ORDER
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise UsageError(
            "this directory holds another run",
            where=str(directory),
            fix=f"Go on with that one by `featherweight resume {directory}`, or name another directory.",
        )
    atomic.write_atomically(kept, text)
    _run(job, order, replace(place, directory=directory), json=json)


def resume(place: Place, *, json: bool) -> None:
    """Goes on with the job whose order lies in the directory of `place`."""
    directory = check_source(place.directory or RUNS, what="run directory", directory=True)
    kept = check_source(directory / ORDER, what="order of a run")
    job = Job.from_json(kept.read_text(encoding="utf-8"), kept)
    with waiting("checking", quiet=json):
        order = _prepared(job)
    _run(job, order, place, json=json)


@dataclass(frozen=True)
class _Order:
    """A recipe and what it works on: a task, or a checkpoint that goes through tensor by tensor."""

    recipe: "recipes.Recipe"
    task: "Task"
    checkpoint: "files.Checkpoint | None" = None

    @property
    def name(self) -> str:
        return self.task.name

    def model(self) -> "nn.Module":
        return self.task.build()

    def totals(self, job: Job) -> dict[str, Any]:
        """The figures of the network as it is."""
        if self.checkpoint is not None:
            return stream_results.figures(sum(item.numel() for item in self.model().parameters()))
        context = contexts.TaskContext(self.task, seed=job.seed, device=job.device)
        model = self.model()
        context.check(model)
        return profiling.profile(model, context.example).summary()


def _prepared(job: Job) -> _Order:
    """Recipe and task, both checked, the cheap checks first."""
    check_target(job.output)
    if job.recipe.endswith((".yaml", ".yml")):
        check_source(Path(job.recipe), what="recipe file")
    recipe = recipes.Recipe.read(job.recipe)
    if job.max_drop is not None:
        recipe = replace(recipe, max_drop=job.max_drop)
    if job.coder is not None:
        recipe = replace(recipe, coder=job.coder)
    if not files.is_checkpoint(job.task):
        return _Order(recipe, resolve.read_task(job.task, seed=job.seed))
    checkpoint = files.open_checkpoint(job.task)
    if streams.needs_model(recipe) is None:
        return _Order(recipe, streams.task_of(checkpoint), checkpoint)
    streams.check_fits(checkpoint, recipe)
    return _Order(recipe, resolve.read_task(job.task, seed=job.seed))


def _made(run_dir: Path | None, name: str) -> Path:
    """The run directory: the one asked for, or the next free number under runs/."""
    with atomic.storage_errors(run_dir or RUNS):
        if run_dir is not None:
            run_dir.mkdir(parents=True, exist_ok=True)
            return run_dir
        RUNS.mkdir(exist_ok=True)
        stem = "".join(char if char.isalnum() or char in "._+-" else "_" for char in name)
        for number in range(1, 1_000_000):
            directory = RUNS / f"{stem}-{number:03d}"
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            return directory
    raise UsageError("too many runs of this name", where=str(RUNS), value=name, fix="Name one with --run-dir.")


def _run(job: Job, order: _Order, place: Place, *, json: bool) -> None:
    directory = place.directory or RUNS
    with shown(quiet=json) as progress, _resumable(directory):
        if order.checkpoint is not None:
            settings = streams.Settings(
                seed=job.seed,
                threads=place.threads,
                extras=job.extras,
                allow_env_change=place.allow_env_change,
                progress=progress,
            )
            made = streams.compress_checkpoint(order.checkpoint, order.recipe, job.output, directory, settings)
            story = summary.Done(job.output, directory, job.seed, made.recipe, made.ledger, made.summary(), made.file)
        else:
            context = contexts.TaskContext(order.task, seed=job.seed, device=job.device, progress=progress)
            model = order.model()
            result = runs.compress(
                model, order.recipe, context, run_dir=directory, allow_env_change=place.allow_env_change
            )
            report = results.save(result, job.output, extras=job.extras)
            totals = result.profile.summary()
            story = summary.Done(job.output, directory, job.seed, result.recipe, result.ledger, totals, report)
    summary.done(story, json=json)


@contextmanager
def _resumable(directory: Path) -> Iterator[None]:
    """Says how to go on when the run is stopped by a signal; leaves nothing behind of a run that did not begin."""
    try:
        yield
    except BaseException as error:
        if not (directory / STATE).exists():
            (directory / ORDER).unlink(missing_ok=True)
            with suppress(OSError):  # other files of the user's may lie there
                directory.rmdir()
        elif isinstance(error, InterruptedRunError):
            error.args = (f"stopped, everything so far is kept. {_advice(directory)}",)
        elif isinstance(error, KeyboardInterrupt):
            news(_advice(directory))
        raise


def _advice(directory: Path) -> str:
    return f"Go on with: featherweight resume {directory}"
