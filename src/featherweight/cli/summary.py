"""What `compress` and `resume` print: the plan before, the figures after."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherweight.cli.output import document, line, table
from featherweight.report.scale import Scores
from featherweight.report.tables import settings_text
from featherweight.report.text import bytes_text, count_text, ratio

if TYPE_CHECKING:
    from featherweight.container.report import FileReport
    from featherweight.core.task import Task
    from featherweight.recipes.ledger import Entry, Ledger
    from featherweight.recipes.plan import PlannedStep
    from featherweight.recipes.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """What a run would do: `model` is the summary of the network's profile."""

    output: Path
    seed: int
    recipe: "Recipe"
    task: "Task"
    steps: "tuple[PlannedStep, ...]"
    model: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """What a run did: `totals` is the summary of the compressed network's profile."""

    output: Path
    directory: Path
    seed: int
    recipe: "Recipe"
    ledger: "Ledger"
    totals: dict[str, Any]
    file: "FileReport"


_SPLITS = ("train", "validation", "calibration", "test")


def plan(made: Plan, *, json: bool) -> None:
    """Prints a plan, as text or as one JSON document."""
    examples = {split: _count(made.task, split) for split in _SPLITS}
    if json:
        document(
            {
                "dry_run": True,
                "task": made.task.name,
                "examples": examples,
                "model": made.model,
                "recipe": made.recipe.to_dict(),
                "steps": [asdict(step) for step in made.steps],
                "seed": made.seed,
                "output": str(made.output),
            }
        )
        return
    data = ", ".join(f"{count_text(count)} {split}" for split, count in examples.items() if count)
    line(f"task     {made.task.name}: {count_text(made.model['parameters'])} parameters, {data or 'no data'}")
    line(f"recipe   {made.recipe.name}, may cost {_allowed(made.recipe.max_drop)}, seed {made.seed}")
    for step, asked in zip(made.steps, made.recipe.to_dict()["steps"], strict=True):
        room = f"{len(step.tensors)} tensors with {count_text(step.weights)} weights"
        line(f"  {step.index + 1}. {step.technique} on {room}, may cost {_allowed(step.max_drop)}")
        line(f"     {settings_text(asked.get('with', {}))}")
    line(f"output   {made.output} (nothing was written: this is a dry run)")


def _count(task: "Task", split: str) -> int | None:
    return len(task.examples(split)) if getattr(task, split) is not None else None


def _allowed(max_drop: float | None) -> str:
    return "any score" if max_drop is None else f"at most {max_drop:g} of the score"


def done(made: Done, *, json: bool) -> None:
    """Prints what came out, as text or as one JSON document."""
    entries, size = list(made.ledger), made.file.total_bytes
    dense = made.totals["dense_bytes"]
    if json:
        document(
            {
                "output": str(made.output),
                "file_bytes": size,
                "dense_bytes": dense,
                "ratio": dense / size,
                "score_before": entries[0].score_before if entries else None,
                "score_after": entries[-1].score_after if entries else None,
                "run_dir": str(made.directory),
                "seed": made.seed,
                "recipe": made.recipe.to_dict(),
                "profile": made.totals,
                "ledger": made.ledger.to_list(),
            }
        )
        return
    _steps(entries)
    line(f"{made.output}: {bytes_text(size)}, {ratio(dense, size)} smaller than {bytes_text(dense)} of dense weights")
    line(f"more: featherweight report {made.directory} -o report.html")


def _steps(entries: list["Entry"]) -> None:
    found = [score for entry in entries for score in (entry.score_before, entry.score_after) if score is not None]
    style = Scores.of(found)
    rows = [
        (
            number,
            entry.technique,
            style.text(entry.score_before),
            style.text(entry.score_after),
            bytes_text(entry.after.get("encoded_bytes")),
            entry.guard.verdict.replace("_", " ") if entry.guard else "none",
        )
        for number, entry in enumerate(entries, 1)
    ]
    table(("step", "technique", "score", "after", "weights", "guard"), rows, left=2)
