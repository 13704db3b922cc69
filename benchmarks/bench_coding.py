"""Measures coding against nncodec, the reference software of ISO/IEC 15938-17, and against the published records.

    python benchmarks/bench_coding.py [--only WORK] [--seeds 0,1,2] [--json] [--folder runs/bench_coding]

Data: $FEATHERWEIGHT_DATA (mnist, cifar10, imagenet sample; see README there).
Needs: pip install 'featherweight[bench]'.
The peer lives in an environment of its own and runs under the interpreter that FEATHERWEIGHT_NNCODEC_PYTHON names; see
benchmarks/README.md. Without it the rows say that it is not there, and our own figures still come.

Everything is on one core: OMP_NUM_THREADS=1. Rates are medians of 5, ours and the peer's taken in turns. A run that was
stopped goes on where it was when the same command is given again.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import bench_classic as classic
import classic_tasks as tasks
import coding_curve as curve
import coding_integers as integers
import coding_streams as streaming
from featherweight.cli.progress import shown

Row = dict[str, Any]

NETWORKS = ("efficientnet-lite0", "resnet-20")
QUALITIES = (-38, -28, -20)
LARGEST = 0.95  # of nncodec's bytes, small tier
FASTER = 20  # times nncodec's rate
LARGE = 10_000  # weights from which the table of a static coder must not show
TIMED = ("efficientnet-lite0", -28)


@dataclass(frozen=True)
class Bench:
    """What all works share: where things are kept, the peer (None: not there) and the seeds of trained networks."""

    folder: Path
    peer: integers.Peer | None
    seeds: list[int]
    quiet: bool
    _cases: dict[tuple[str, int], integers.Coded] = field(default_factory=dict)

    def case(self, network: str, qp: int) -> integers.Coded:
        """nncodec's integers of a network, read once."""
        if (network, qp) not in self._cases:
            self._cases[network, qp] = integers.coded(network, qp, self.folder, self.peer)
        return self._cases[network, qp]


def same_integers(bench: Bench) -> Iterator[Row]:
    """nncodec's integers in whole files of ours, both tiers."""
    for network in NETWORKS:
        for qp in QUALITIES:
            case = bench.case(network, qp)
            content = integers.encodings(case)
            for tier in ("small", "fast"):
                data = integers.whole_file(content, integers.coders(tier))
                exact = integers.same_integers(case, integers.read_back(data))
                yield _size_row(f"integers/{network}/{qp}/{tier}", case, len(data), exact, tier)


def _size_row(work: str, case: integers.Coded, size: int, exact: bool, tier: str) -> Row:
    theirs = case.peer["bytes"] if case.peer else None
    ratio = size / theirs if theirs else None
    target = LARGEST if tier == "small" else None
    return {
        "work": work,
        "value": None if ratio is None else round(ratio, 4),
        "unit": "bytes of our whole file / bytes of nncodec's",
        "target": target,
        "met": None if target is None or ratio is None else ratio <= target and exact,
        **_named(case),
        "peer_value": theirs,
        "bytes": size,
        "read_back_exactly": exact,
        "coders": _names(tier),
    }


def _named(case: integers.Coded) -> Row:
    return {"peer": f"nncodec {case.peer['version']}" if case.peer else "nncodec: peer not there"}


def _names(tier: str) -> list[str]:
    return [type(coder).__name__.lower() for coder in integers.coders(tier)]


def rates(bench: Bench) -> Iterator[Row]:
    """Millions of weights a second on one core: streams alone, and whole files to float32 against nncodec's."""
    case = bench.case(*TIMED)
    content = integers.encodings(case)
    streams = {tier: streaming.parts(case, tier) for tier in integers.TIERS}
    files = {tier: integers.whole_file(content, integers.coders(tier)) for tier in integers.TIERS}
    weights = sum(part.stream.count for part in streams["fast"])
    values = sum(levels.size for levels in case.levels.values())
    actions: dict[str, Callable[[], Any]] = {
        "decode/small": lambda: [part.coder.from_bits(part.data, part.stream) for part in streams["small"]],
        "decode/fast": lambda: [part.coder.from_bits(part.data, part.stream) for part in streams["fast"]],
        "encode/fast": lambda: [part.coder.to_bits(part.symbols, part.stream) for part in streams["fast"]],
        "file/small": lambda: [item.to_tensor() for item in integers.read_back(files["small"]).values()],
        "file/fast": lambda: [item.to_tensor() for item in integers.read_back(files["fast"]).values()],
    }
    for part in (*streams["small"], *streams["fast"]):
        _ = part.data  # coded before the clock runs
    seconds = streaming.in_turns(actions, _peer_decodes(bench, case))
    for work, target in (("decode/small", 25), ("decode/fast", 300), ("encode/fast", 100)):
        tier = work.partition("/")[2]
        rate = round(weights / seconds[work] / 1e6, 2)
        row = {"work": work, "value": rate, "unit": "million weights a second, one core", "target": target}
        yield {**row, "met": rate >= target, "peer": None, "peer_value": None, "coders": _names(tier)}
    for tier in integers.TIERS:
        alone = weights / seconds[f"decode/{tier}"]
        yield _times_row(f"load/{tier}", case, (values / seconds[f"file/{tier}"], alone), seconds.get("peer"))


def _peer_decodes(bench: Bench, case: integers.Coded) -> Callable[[], float] | None:
    if bench.peer is None or case.peer is None:
        return None
    return lambda: bench.peer.ask("decode", stream=case.stream)["seconds"]


def _times_row(work: str, case: integers.Coded, ours: tuple[float, float], seconds: float | None) -> Row:
    """`ours`: values a second of the whole way, and of streams alone; nncodec takes `seconds` for the whole way."""
    whole, alone = ours
    theirs = sum(levels.size for levels in case.levels.values()) / seconds if seconds else None
    times = round(whole / theirs, 2) if theirs else None
    return {
        "work": work,
        "value": times,
        "unit": "times nncodec's rate, from bytes in memory to float32 tensors",
        "target": FASTER,
        "met": None if times is None else times >= FASTER,
        **_named(case),
        "peer_value": round(theirs / 1e6, 2) if theirs else None,
        "million_values_a_second": round(whole / 1e6, 2),
        "times_streams_alone": round(alone / theirs, 2) if theirs else None,
    }


def static_tables(bench: Bench) -> Iterator[Row]:
    """How far the fast tier is from the zero-order entropy, table included: the worst tensor of all cases."""
    excess = [
        (100 * (8 * len(part.data) / streaming.entropy(part.symbols) - 1), f"{network} {qp} {part.name}")
        for network in NETWORKS
        for qp in QUALITIES
        for part in streaming.parts(bench.case(network, qp), "fast")
        if part.stream.count > LARGE
    ]
    worst, name = max(excess)
    yield {
        "work": "static_tables",
        "value": round(worst, 3),
        "unit": f"per cent above the zero-order entropy, worst of {len(excess)} tensors of over {LARGE:,} weights",
        "target": 0.5,
        "met": worst <= 0.5,
        "peer": None,
        "peer_value": None,
        "worst_tensor": name,
        "beyond_target": sum(item > 0.5 for item, _ in excess),
        "median": round(statistics.median(item for item, _ in excess), 3),
        "coders": _names("fast"),
    }


def efficientnet(bench: Bench) -> Iterator[Row]:
    """Bytes against accuracy without retraining, beside nncodec; the plot lies in the folder."""
    yield curve.row(curve.measured(bench.folder, bench.peer, quiet=bench.quiet), bench.folder / "curve.svg")


SMALLEST = (
    classic.Work(
        name="lenet-300-100/smallest",
        prepare=tasks.lenet300,
        dense="lenet-300-100",
        epochs=15,
        recipe="lenet_300_100_smallest.yaml",
        target=200,
        most=1.6,
        retrain=tasks.with_shifts,
    ),
    classic.Work(
        name="lenet-5/smallest",
        prepare=tasks.lenet5,
        dense="lenet-5",
        epochs=8,
        recipe="lenet_5_smallest.yaml",
        target=1000,
        most=0.9,
        retrain=tasks.with_shifts,
    ),
    classic.Work(
        name="resnet-20/smallest",
        prepare=tasks.resnet20,
        dense="resnet-20",
        epochs=6,
        recipe="resnet_20_smallest.yaml",
        target=25,
        allowed=0.5,
        one_seed=True,
    ),
)

RECORDS = {  # published, with retraining: ratio and error in per cent
    "lenet-300-100/smallest": ("EPR (Oktay et al. 2020)", "124x at 1.9 %"),
    "lenet-5/smallest": ("MIRACLE (Havasi et al. 2019); EPR", "1110x at 1.0 %; 606x at 0.9 %"),
    "resnet-20/smallest": (None, None),
}


def smallest(work: classic.Work) -> Callable[[Bench], Iterator[Row]]:
    """The row of a network that is retrained while it is made small."""

    def rows(bench: Bench) -> Iterator[Row]:
        name, record = RECORDS[work.name]
        with shown(quiet=bench.quiet) as progress:
            row = classic.measured(work, bench.seeds, bench.folder, progress)
        yield {**row, "peer": name, "peer_value": record}

    return rows


WORKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "integers": same_integers,
    "rates": rates,
    "static_tables": static_tables,
    "efficientnet-lite0": efficientnet,
    **{work.name: smallest(work) for work in SMALLEST},
}


def main() -> int:
    """Runs the works asked for and prints their rows; the exit code is 0 whether or not targets were met."""
    options = _options()
    if options.only not in (None, *WORKS):
        print(f"bench_coding: no work {options.only!r}; there are: {', '.join(WORKS)}", file=sys.stderr)
        return 2
    if "FEATHERWEIGHT_DATA" not in os.environ:
        print("bench_coding: set FEATHERWEIGHT_DATA to the folder of the data sets", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    rows: list[Row] = []
    with integers.running_peer() as peer:
        bench = Bench(options.folder, peer, options.seeds, options.json)
        for name in WORKS if options.only is None else [options.only]:
            for row in WORKS[name](bench):
                rows.append(row)
                if not options.json:
                    _show(row)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORK", help=f"one of: {', '.join(WORKS)}")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench_coding"))
    return parser.parse_args()


def _show(row: Row) -> None:
    met = {True: "met", False: "NOT met", None: ""}[row["met"]]
    target = "" if row["target"] is None else f"(target {row['target']})"
    theirs = f"{row['peer']} {row['peer_value'] or ''}" if row["peer"] else ""
    bytes_text = f"{row['bytes']:,} bytes" if "bytes" in row else ""
    print(
        f"{row['work']:36} {row['value']!s:>9} {target:16} {met:8} {bytes_text:18} {theirs}  [{row['unit']}]",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
