"""EfficientNet-lite0 with 30 % fewer multiply-adds and no labels: which repair keeps how much. For bench_structure.py.

    python benchmarks/structure_lite0.py [--only CASE] [--json]

Data: $FEATHERWEIGHT_DATA (imagenet sample; see README there). Needs: pip install 'featherweight[bench]'.

The 500 photographs are split in turns. What is chosen and fitted sees the inputs of the one half; the value of a row is
the top-1 accuracy in per cent on the other half, of which one photograph is 0.4 points. Nothing is trained. The target
is 10 points more than the magnitude of filters alone keeps (the first row). Everything is on one core.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

import classic_tasks as tasks
import coding_curve as curve
import featherweight as fw
from featherweight.techniques.base import Technique
from featherweight.techniques.pruning.channel.lasso import Lasso
from featherweight.techniques.pruning.filter.norm import Norm
from featherweight.techniques.pruning.filter.thinet import Thinet
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

Row = dict[str, Any]

WORK = "efficientnet-lite0/repair"
RATIO = 0.3  # of the multiply-adds
MORE = 10.0  # points above magnitude alone
STREAM = ("*_project_conv", "_conv_stem", "_conv_head")  # what makes the narrow residual streams stays whole
BASELINE = "norm-l1/none"


def _norm(**settings: Any) -> Technique:
    return Norm(ratio=RATIO, of="macs", norm="l1", **settings)


CASES: Mapping[str, Technique] = {
    BASELINE: _norm(repair="none"),
    "norm-l1/statistics": _norm(repair="statistics"),
    "norm-l1/least_squares": _norm(repair="least_squares"),
    "norm-l1-inside/none": _norm(keep=STREAM, repair="none"),
    "norm-l1-inside/statistics": _norm(keep=STREAM, repair="statistics"),
    "norm-l1-inside/least_squares": _norm(keep=STREAM, repair="least_squares"),
    "lasso-inside/none": Lasso(ratio=RATIO, of="macs", keep=STREAM, repair="none"),
    "lasso-inside/statistics": Lasso(ratio=RATIO, of="macs", keep=STREAM, repair="statistics"),
    "lasso-inside/least_squares": Lasso(ratio=RATIO, of="macs", keep=STREAM),
    "lasso-inside-shallow/least_squares": Lasso(ratio=RATIO, of="macs", keep=STREAM, shallow=1.5),
    "lasso-inside-global/least_squares": Lasso(ratio=RATIO, of="macs", keep=STREAM, scope="global"),
    "lasso-inside-global-worth/least_squares": Lasso(ratio=RATIO, of="macs", keep=STREAM, scope="global", worth=1.0),
    "lasso/least_squares": Lasso(ratio=RATIO, of="macs"),
    "thinet-inside/weights": Thinet(ratio=RATIO, of="macs", keep=STREAM, refit="weights"),
}


def rows(only: str | None = None) -> Iterator[Row]:
    """A row a case, in the order above; `only` is the name of one."""
    task = curve.halves(tasks.efficientnet_lite0(0))
    model, alone = task.build(), None
    for name, technique in CASES.items():
        if only in (None, name):
            row = measured(name, technique, model, task)
            alone = row["value"] if name == BASELINE else alone
            target = None if alone is None or name == BASELINE else alone + MORE
            yield {**row, "target": target, "met": None if target is None else row["value"] >= target}


def measured(name: str, technique: Technique, model: torch.nn.Module, task: fw.Task) -> Row:
    """The row of one case, without its target."""
    context = fw.Context(task, seed=0)
    start = time.process_time()
    changed = technique.apply(model, context)
    seconds = time.process_time() - start
    return {
        "work": f"{WORK}/{name}",
        "value": round(100 * evaluate(changed, task.examples("test"), score_of(task)), 2),
        "unit": "top-1 in per cent on the half that nothing was chosen or fitted on",
        "peer": None,
        "peer_value": None,
        "fewer_macs": round(context.details["reached"], 4),
        "cpu_seconds": round(seconds, 1),
    }


def main() -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, metavar="CASE", help=f"one of: {', '.join(CASES)}")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in rows(options.only):
        found.append(row)
        if not options.json:
            print(f"{row['work']:60} {row['value']:6} (target {row['target']}) {row['cpu_seconds']} s", flush=True)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
