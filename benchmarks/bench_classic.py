"""Compresses classic networks end to end and measures the whole file against the dense float32 parameters.

Ratio = 4 bytes x parameters of the dense network / bytes of the whole `.fwt` file that runs by itself. Errors are in
per cent of the complete test set, which is looked at once a network, after everything was chosen on validation data.
Figures of several seeds are medians. Data: $FEATHERWEIGHT_DATA (mnist, cifar10, imagenet sample; see README there).
Needs: pip install 'featherweight[bench]'.

    python benchmarks/bench_classic.py [--only WORK] [--seeds 0,1,2] [--json] [--folder runs/bench_classic]

A run that was stopped goes on where it was when the same command is given again.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import classic_tasks as tasks
import featherweight as fw
from featherweight.cli.progress import shown
from featherweight.core.context import Finetuning, Progress
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row of the table: a network, how it is trained and compressed, and what it must reach.

    `prepare(seed)` gives the task whose model is trained (or, with `epochs` 0, taken) as the dense network;
    `retrain(task)` the task that the recipe works with, where compression sees other training images.
    """

    name: str
    prepare: Callable[[int], fw.Task]
    dense: str  # works with the same word share one dense network
    epochs: float
    recipe: str
    target: float  # least ratio
    allowed: float = math.inf  # most points of test error above the dense network
    most: float = math.inf  # most test error in per cent
    retrain: Callable[[fw.Task], fw.Task] = field(default=lambda task: task)
    one_seed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one seed gave."""

    seed: int
    ratio: float
    file_bytes: int
    dense_bytes: int
    error: float  # per cent
    dense_error: float
    minutes: float


WORKS = (
    Work(
        name="lenet-300-100/deep_compression",
        prepare=tasks.lenet300,
        dense="lenet-300-100",
        epochs=15,
        recipe="deep_compression",
        target=40,
        allowed=0.0,
        retrain=tasks.with_shifts,
    ),
    Work(
        name="lenet-5/deep_compression",
        prepare=tasks.lenet5,
        dense="lenet-5",
        epochs=8,
        recipe="deep_compression",
        target=39,
        allowed=0.0,
        retrain=tasks.with_shifts,
    ),
    Work(
        name="lenet-300-100/best",
        prepare=tasks.lenet300,
        dense="lenet-300-100",
        epochs=15,
        recipe="lenet_300_100_best.yaml",
        target=80,
        allowed=0.1,
        retrain=tasks.with_shifts,
    ),
    Work(
        name="lenet-5/best",
        prepare=tasks.lenet5,
        dense="lenet-5",
        epochs=8,
        recipe="lenet_5_best.yaml",
        target=200,
        allowed=0.1,
        retrain=tasks.with_shifts,
    ),
    Work(
        name="resnet-20/best",
        prepare=tasks.resnet20,
        dense="resnet-20",
        epochs=6,
        recipe="resnet_20_best.yaml",
        target=12,
        allowed=0.5,
        one_seed=True,
    ),
    Work(
        name="lstm/deep_compression",
        prepare=tasks.lstm,
        dense="lstm",
        epochs=8,
        recipe="lstm_deep_compression.yaml",
        target=15,
        allowed=0.3,
    ),
    Work(
        name="efficientnet-lite0/codebooks",
        prepare=tasks.efficientnet_lite0,
        dense="efficientnet-lite0",
        epochs=0,
        recipe="codebooks_8bit.yaml",
        target=4.5,
        allowed=1.0,
        one_seed=True,
    ),
)


def main() -> int:
    """Runs the works asked for and prints one row each; the exit code is 0 whether or not targets were met."""
    options = _options()
    chosen = [work for work in WORKS if options.only in (None, work.name)]
    if not chosen:
        names = ", ".join(work.name for work in WORKS)
        print(f"bench_classic: no work {options.only!r}; there are: {names}", file=sys.stderr)
        return 2
    if "FEATHERWEIGHT_DATA" not in os.environ:
        print("bench_classic: set FEATHERWEIGHT_DATA to the folder of the data sets", file=sys.stderr)
        return 2
    rows = []
    for work in chosen:
        with shown(quiet=options.json) as progress:
            rows.append(measured(work, options.seeds, options.folder, progress))
        if not options.json:
            _show(rows[-1])
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORK")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench_classic"))
    return parser.parse_args()


def measured(work: Work, seeds: Sequence[int], folder: Path, progress: Progress) -> dict[str, object]:
    """The row of a work; outcomes that lie in the folder already are taken from there."""
    chosen = seeds[:1] if work.one_seed else seeds
    return _row(work, [_run(work, seed, folder, progress) for seed in chosen])


def _run(work: Work, seed: int, folder: Path, progress: Progress) -> Outcome:
    """One seed of a work; an outcome that lies in the folder already is taken from there."""
    place = folder / work.name.replace("/", "-") / f"seed-{seed}"
    kept = place / "outcome.json"
    if kept.exists():
        return Outcome(**json.loads(kept.read_text()))
    start = time.monotonic()
    task = work.prepare(seed)
    dense = _dense(work, task, (seed, folder), progress)
    retrain = work.retrain(replace(task, model=dense))
    context = fw.Context(retrain, seed=seed, progress=progress)
    recipe = RECIPES / work.recipe if work.recipe.endswith(".yaml") else work.recipe
    result = fw.compress(dense, recipe, context, run_dir=place / "run")
    file = place / "model.fwt"
    written = fw.save(result, file, extras=False).total_bytes
    dense_bytes = 4 * sum(parameter.numel() for parameter in dense.parameters())
    outcome = Outcome(
        seed=seed,
        ratio=dense_bytes / written,
        file_bytes=written,
        dense_bytes=dense_bytes,
        error=_test_error(fw.load(file), task),
        dense_error=_test_error(dense, task),
        minutes=round((time.monotonic() - start) / 60, 1),
    )
    kept.write_text(json.dumps(asdict(outcome)))
    return outcome


def _dense(work: Work, task: fw.Task, place: tuple[int, Path], progress: Progress) -> nn.Module:
    """The dense network: trained once for all works that share it."""
    seed, folder = place
    model = task.build()
    path = folder / "dense" / f"{work.dense}-{seed}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
    elif work.epochs:
        context = fw.Context(replace(task, model=model), seed=seed, progress=progress)
        settings = Finetuning(epochs=work.epochs, learning_rate=task.training.learning_rate)
        context.finetune(model, settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return model


def _test_error(model: nn.Module, task: fw.Task) -> float:
    return 100 * (1 - evaluate(model, task.examples("test"), score_of(task)))


def _row(work: Work, outcomes: list[Outcome]) -> dict[str, object]:
    ratio = statistics.median(item.ratio for item in outcomes)
    error = statistics.median(item.error for item in outcomes)
    dense_error = statistics.median(item.dense_error for item in outcomes)
    allowed = min(dense_error + work.allowed, work.most)
    return {
        "work": work.name,
        "value": round(ratio, 2),
        "unit": "dense float32 bytes / bytes of the file",
        "target": work.target,
        "error_percent": round(error, 2),
        "dense_error_percent": round(dense_error, 2),
        "allowed_error_percent": round(allowed, 2),
        "met": ratio >= work.target and error <= allowed + 1e-9,
        "file_bytes": round(statistics.median(item.file_bytes for item in outcomes)),
        "threads": torch.get_num_threads(),
        "seeds": [asdict(item) for item in outcomes],
    }


def _show(row: dict[str, object]) -> None:
    met = "met" if row["met"] else "NOT met"
    print(
        f"{row['work']:34} {row['value']:8.1f}x (target {row['target']}x)  {row['file_bytes']:>9,} bytes  "
        f"error {row['error_percent']:.2f} % (dense {row['dense_error_percent']:.2f} %)  {met}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
