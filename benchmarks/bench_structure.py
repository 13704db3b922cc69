"""Measures structured pruning and low rank against Torch-Pruning and against what is asked for.

    python benchmarks/bench_structure.py [--only WORK] [--seeds 0,1,2] [--json] [--folder runs/bench_structure]

Data: $FEATHERWEIGHT_DATA (cifar10, imagenet sample; see README there); the zoo needs none.
Needs: pip install 'featherweight[bench]'.

Everything is on one core: OMP_NUM_THREADS=1. Times are CPU seconds, medians of 3, ours and the peer's in turns, each
network in a process of its own that may take 60 s. Rows of networks and methods that are in the folder are not measured
again.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import structure_cifar as cifar
import structure_isolated as isolated
import structure_lite0 as lite0
import structure_lowrank as lowrank
import structure_ours as ours
import structure_peer as peer
import structure_zoo as zoo

Row = dict[str, Any]

WORKING = 95.0  # per cent of the zoo
NEAR = 0.02  # of the asked share
PEER = "torch-pruning"


@dataclass(frozen=True)
class Bench:
    """What all works share: where rows are kept, and the seeds of trained networks."""

    folder: Path
    seeds: list[int]
    quiet: bool

    def kept(self, kind: str, function: Callable[[str], Row], name: str) -> Row:
        """The row of one network, measured at most once in this folder."""
        path = self.folder / f"{kind}.json"
        rows: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
        if name not in rows:
            rows[name] = isolated.run(function, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows, indent=1))
            if not self.quiet:
                state = "ok" if rows[name]["ok"] else rows[name]["error"]
                print(f"  {name:40} {kind:6} {state[:90]}", file=sys.stderr, flush=True)
        return rows[name]


def whole_zoo(bench: Bench) -> Iterator[Row]:
    """Half of the channels of every network: what runs, how much goes, how exactly budgets are met, how long it is."""
    names = [entry.name for entry in zoo.zoo()]
    pairs = []
    for name in names:
        theirs = bench.kept("peer", peer.measured, name)
        pairs.append((bench.kept("ours", ours.measured, name), theirs))
    mine, others = ([pair[side] for pair in pairs] for side in (0, 1))
    yield _row("zoo/works", _share(mine), "% of networks", WORKING, _share(mine) >= WORKING, _share(others))
    done = [row for row in mine if row["ok"]]
    for unit in ours.UNITS:
        near = [abs(row[f"reached_{unit}"] - ours.RATIO) <= NEAR for row in done]
        yield _row(f"zoo/budget in {unit}", _percent(near), "% of networks within 2 points", 100.0, all(near), None)
    both = [(a, b) for a, b in pairs if a["ok"] and b["ok"]]
    fewer = sum(a["prunable"] < b["touched"] - 1e-3 for a, b in both)
    median = statistics.median(a["prunable"] for a, _ in both)
    theirs_median = statistics.median(b["touched"] for _, b in both)
    yield _row("zoo/less prunable than the peer", fewer, f"networks of {len(both)}", 0, fewer == 0, 0)
    yield _row(
        "zoo/prunable, median", round(100 * median, 1), "% of parameters", None, None, round(100 * theirs_median, 1)
    )
    ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in both)
    yield _row("zoo/time", round(ratio, 2), "times the peer's, median", 1.0, ratio <= 1, 1.0)
    limits = [row["seconds"] for row in done]
    yield _row("zoo/slowest", round(max(limits), 1), "s", isolated.LIMIT, max(limits) <= isolated.LIMIT, None)


def exports(bench: Bench) -> Iterator[Row]:
    """Plain torch.onnx.export of the cut networks, of all whose whole network exports."""
    rows = [bench.kept("onnx", ours.exported, entry.name) for entry in zoo.zoo()]
    able = [row for row in rows if row.get("before")]
    share = _percent([row["ok"] for row in able])
    yield _row("zoo/onnx", share, f"% of {len(able)} networks that export uncut", WORKING, share >= WORKING, None)


def criteria(bench: Bench) -> Iterator[Row]:
    """ResNet-20 with half of its multiply-adds and the same 3 epochs for every criterion, ours and the peer's."""
    path = bench.folder / f"resnet_20_{bench.seeds[0]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    methods = cifar.all_methods()
    if any(method.name not in kept for method in methods):
        given = argparse.Namespace(seed=bench.seeds[0], quick=False, epochs=3.0, dense_epochs=3.0)
        ready = cifar.prepared(given)
        for method in methods:
            if method.name not in kept:
                kept[method.name] = ready.row(method)
                path.write_text(json.dumps(kept, indent=1))
    for name, row in sorted(kept.items(), key=lambda item: -item[1]["top1"]):
        yield _row(f"resnet-20/{name}", round(row["top1"], 2), "top-1 %", None, None, None)
    best = {peer: max(row["top1"] for row in kept.values() if row["peer"] == peer) for peer in (False, True)}
    lead = round(best[False] - best[True], 2)
    channels = {method.name for method in cifar.our_methods()}
    criterion = max(row["top1"] for name, row in kept.items() if name in channels)
    apart = round(criterion - best[True], 2)
    yield _row("resnet-20/best criterion for channels to best", apart, "points", None, None, 0.0)
    yield _row("resnet-20/best to best", lead, "points", cifar.TARGET, lead >= cifar.TARGET, 0.0)


def _share(rows: list[Row]) -> float:
    return _percent([row["ok"] for row in rows])


def _percent(flags: list[bool]) -> float:
    return round(100 * sum(flags) / max(len(flags), 1), 1)


def _row(work: str, value: float, unit: str, target: float | None, met: bool | None, theirs: float | None) -> Row:
    name = PEER if theirs is not None else None
    return {
        "work": work,
        "value": value,
        "unit": unit,
        "target": target,
        "met": met,
        "peer": name,
        "peer_value": theirs,
    }


WORKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "zoo": whole_zoo,
    "zoo/onnx": exports,
    "resnet-20/criteria": criteria,
    "efficientnet-lite0/repair": lambda bench: lite0.rows(),
    "vgg/low-rank": lambda bench: lowrank.vgg_low_rank(bench.folder),
    "lstm/svd": lambda bench: lowrank.lstm_svd(),
}


def main() -> int:
    """Runs the works asked for and prints their rows; the exit code is 0 whether or not targets were met."""
    options = _options()
    if options.only not in (None, *WORKS):
        print(f"bench_structure: no work {options.only!r}; there are: {', '.join(WORKS)}", file=sys.stderr)
        return 2
    if "FEATHERWEIGHT_DATA" not in os.environ:
        print("bench_structure: set FEATHERWEIGHT_DATA to the folder of the data sets", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    bench = Bench(options.folder, options.seeds, options.json)
    found: list[Row] = []
    for name in WORKS if options.only is None else [options.only]:
        for row in WORKS[name](bench):
            found.append(row)
            if not options.json:
                _show(row)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORK", help=f"one of: {', '.join(WORKS)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench_structure"))
    return parser.parse_args()


def _show(row: Row) -> None:
    met = {True: "met", False: "NOT met", None: ""}[row["met"]]
    target = "" if row["target"] is None else f"(target {row['target']})"
    theirs = f"{row['peer']} {row['peer_value']}" if row["peer"] else ""
    print(f"{row['work']:44} {row['value']!s:>9} {target:16} {met:8} {theirs}  [{row['unit']}]", flush=True)


if __name__ == "__main__":
    sys.exit(main())
