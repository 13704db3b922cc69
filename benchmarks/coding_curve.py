"""EfficientNet-lite0: bytes against top-1 without retraining, ours beside nncodec's. For bench_coding.py.

The 500 photographs are split in turns. Calibration and every choice see the one half; what is reported was measured on
the other. Our points: the library's recipes without retraining, and each benchmarks/recipes/efficientnet_lite0_*.yaml.
Ratios of both sides have the same numerator: four bytes for each of the 4,694,024 values that nncodec codes, batch-norm
statistics included. Ours are files that run by themselves, graph included.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

import classic_tasks as tasks
import coding_integers as integers
import featherweight as fw
from featherweight.cli.progress import shown
from featherweight.core.examples import TensorExamples
from featherweight.recipes.recipe import Recipe, library
from featherweight.report.scale import Bytes, Linear
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of

NETWORK = "efficientnet-lite0"
QUALITIES = (-38, -35, -32, -30, -28, -26, -24, -22, -20)  # of nncodec
TO_BEAT = -28  # the quality whose loss of top-1 is allowed: 7.06x
TARGET = 10.0
LIBRARY = ("weights_only", "calibrated")
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Point:
    """A way to make the network small: bytes, and top-1 in per cent on either half of the photographs."""

    name: str
    bytes: int
    chosen_on: float
    reported: float


@dataclass(frozen=True)
class Curve:
    """All points; `dense` is the network as it is, with the bytes of its float32 values."""

    dense: Point
    ours: tuple[Point, ...]
    peer: tuple[Point, ...]  # empty: the peer is not there


def measured(folder: Path, peer: integers.Peer | None, *, quiet: bool) -> Curve:
    """The curve; points that lie in the folder already are taken from there."""
    task = halves(tasks.efficientnet_lite0(0))
    place = folder / "curve"
    place.mkdir(parents=True, exist_ok=True)
    dense = _kept(place / "dense.json", lambda: _point("dense", _dense_bytes(task), task.build(), task))
    theirs = [_peer_point(place, task, qp, (folder, peer)) for qp in QUALITIES]
    found = [Recipe.read(name) for name in LIBRARY if name in library()]
    found += [Recipe.read(path) for path in sorted(RECIPES.glob("efficientnet_lite0_*.yaml"))]
    ours = [_our_point(place, task, recipe, quiet=quiet) for recipe in found]
    return Curve(dense, tuple(ours), tuple(point for point in theirs if point is not None))


def halves(task: fw.Task) -> fw.Task:
    """The task with every second photograph for calibration and choices, and the others as its test set."""
    every = task.examples("test")
    first, second = (
        TensorExamples([part[start::2] for part in every.inputs], every.target[start::2], every.transform)
        for start in (0, 1)
    )
    return replace(task, calibration=first, validation=first, test=second)


def _dense_bytes(task: fw.Task) -> int:
    return 4 * sum(tensor.numel() for tensor in task.build().state_dict().values() if tensor.is_floating_point())


def _point(name: str, size: int, model: torch.nn.Module, task: fw.Task) -> Point:
    score = score_of(task)
    chosen_on, reported = (
        round(100 * evaluate(model, task.examples(split), score), 2) for split in ("validation", "test")
    )
    return Point(name, size, chosen_on, reported)


def _kept(path: Path, make: Any) -> Point:
    """The point in a file, made and written there first if need be."""
    if not path.exists():
        path.write_text(json.dumps(asdict(make())))
    return Point(**json.loads(path.read_text()))


def _peer_point(place: Path, task: fw.Task, qp: int, source: tuple[Path, integers.Peer | None]) -> Point | None:
    """nncodec at one quality: its bitstream, and the weights it decodes in our evaluation. None without the peer."""
    case = integers.coded(NETWORK, qp, *source)
    if case.peer is None:
        return None

    def make() -> Point:
        model = task.build()
        state = {name: torch.from_numpy(value) for name, value in case.decoded.items()}
        missing = set(model.load_state_dict(state, strict=False).missing_keys)
        if any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"nncodec gives no {sorted(missing)}")
        return _point(f"nncodec {qp}", case.peer["bytes"], model, task)

    return _kept(place / f"nncodec_{qp}.json", make)


def _our_point(place: Path, task: fw.Task, recipe: Recipe, *, quiet: bool) -> Point:
    """One recipe: the bytes of the whole file, and what is loaded from it."""
    digest = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True, default=str).encode()).hexdigest()[:12]
    run = place / f"{recipe.name}-{digest}"

    def make() -> Point:
        with shown(quiet=quiet) as progress:
            result = fw.compress(task.build(), recipe, fw.Context(task, seed=0, progress=progress), run_dir=run / "run")
        size = fw.save(result, run / "model.fwt", extras=False).total_bytes
        return _point(recipe.name, size, fw.load(run / "model.fwt"), task)

    run.mkdir(exist_ok=True)
    return _kept(run / "point.json", make)


def row(curve: Curve, plot: Path) -> dict[str, Any]:
    """The row: our smallest file that loses no more than nncodec's on the one half, and what both lose on the other."""
    plot.write_text(drawing(curve), encoding="utf-8")
    rival = next((point for point in curve.peer if point.name == f"nncodec {TO_BEAT}"), None)
    best = choose(curve, rival)
    shown_row: dict[str, Any] = {
        "work": NETWORK,
        "unit": "dense float32 bytes / bytes of the file, at no more top-1 loss than nncodec at 7.06x",
        "target": TARGET,
        "peer": rival.name if rival else "nncodec: peer not there",
        "peer_value": round(curve.dense.bytes / rival.bytes, 2) if rival else None,
        "peer_loss_points": round(curve.dense.reported - rival.reported, 2) if rival else None,
        "dense_top1": curve.dense.reported,
        "plot": str(plot),
        "points": [asdict(point) for point in (curve.dense, *curve.ours, *curve.peer)],
    }
    if best is None:
        return {**shown_row, "value": None, "met": None if rival is None else False}
    ratio = round(curve.dense.bytes / best.bytes, 2)
    met = None if rival is None else ratio >= TARGET and best.reported >= rival.reported
    loss = round(curve.dense.reported - best.reported, 2)
    return {**shown_row, "value": ratio, "met": met, "bytes": best.bytes, "recipe": best.name, "loss_points": loss}


def choose(curve: Curve, rival: Point | None) -> Point | None:
    """Our smallest point that is at least as good as the rival on the half for choices (without one: any)."""
    good = [point for point in curve.ours if rival is None or point.chosen_on >= rival.chosen_on]
    return min(good, key=lambda point: point.bytes, default=None)


# the plot ------------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 64, 24, 48, 52
_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff }
text { fill: #333 } .muted { fill: #767676 } .title { font-weight: 600; font-size: 15px }
.grid { stroke: #e4e4e4 } .dense { stroke: #767676; stroke-dasharray: 5 4 }
.ours { stroke: #0b5fa5; fill: #0b5fa5 } .peer { stroke: #c2570c; fill: #c2570c }
polyline { fill: none !important; stroke-width: 2 } text.ours, text.peer { stroke: none; font-weight: 600 }
"""


def drawing(curve: Curve) -> str:
    """The plot as one SVG that needs no style sheet: bytes (logarithmic) against top-1 on the half reported."""
    points = [*curve.ours, *curve.peer]
    across = Bytes.around(point.bytes for point in points)
    up = Linear.around((curve.dense.reported, *(point.reported for point in points)), least=4)
    root = ElementTree.Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img"},
    )
    ElementTree.SubElement(root, "title").text = "EfficientNet-lite0: bytes against top-1, no retraining"
    ElementTree.SubElement(root, "style").text = _STYLE
    _text(root, (_LEFT, 24), "EfficientNet-lite0, no retraining: top-1 on 250 photographs", "title")
    _axes(root, across, up)
    level = _y(up, curve.dense.reported)
    _line(root, (_LEFT, level), (_WIDTH - _RIGHT, level), "dense")
    _text(root, (_WIDTH - _RIGHT, level - 6), f"dense {curve.dense.reported:.1f} %", "muted", anchor="end")
    _series(root, "nncodec", curve.peer, ("peer", across, up))
    _series(root, "featherweight", curve.ours, ("ours", across, up))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _axes(root: ElementTree.Element, across: Bytes, up: Linear) -> None:
    for tick in (size * 1_000_000 for size in range(1, int(across.high / 1e6) + 1)):
        if tick < across.low:
            continue
        x = _x(across, tick)
        _line(root, (x, _TOP), (x, _HEIGHT - _BOTTOM), "grid")
        _text(root, (x, _HEIGHT - _BOTTOM + 18), f"{tick / 1e6:g} MB", "muted", anchor="middle")
    for tick in up.ticks(6):
        y = _y(up, tick)
        _line(root, (_LEFT, y), (_WIDTH - _RIGHT, y), "grid")
        _text(root, (_LEFT - 8, y + 4), f"{tick:g} %", "muted", anchor="end")
    _text(root, ((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12), "bytes of the whole file", "muted", anchor="middle")


def _series(root: ElementTree.Element, name: str, points: Sequence[Point], where: tuple[str, Bytes, Linear]) -> None:
    """One curve from the smallest file to the largest, each point with a hint, the largest with the name."""
    classes, across, up = where
    ordered = sorted(points, key=lambda point: point.bytes)
    places = [(_x(across, point.bytes), _y(up, point.reported)) for point in ordered]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    ElementTree.SubElement(root, "polyline", {"points": path, "class": classes})
    for point, (x, y) in zip(ordered, places, strict=True):
        dot = ElementTree.SubElement(root, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "4", "class": classes})
        hint = f"{point.name}: {point.bytes:,} bytes, {point.reported:.1f} %"
        ElementTree.SubElement(dot, "title").text = hint
    if places:
        x, y = places[len(places) // 2]
        _text(root, (x + 10, y + (18 if classes == "peer" else -10)), name, classes)


def _x(scale: Bytes, size: float) -> float:
    return _LEFT + scale.at(size) * (_WIDTH - _LEFT - _RIGHT)


def _y(scale: Linear, value: float) -> float:
    return _TOP + (1 - scale.at(value)) * (_HEIGHT - _TOP - _BOTTOM)


def _line(root: ElementTree.Element, start: tuple[float, float], end: tuple[float, float], classes: str) -> None:
    ends = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
    ElementTree.SubElement(root, "line", {**{name: f"{value:.1f}" for name, value in ends}, "class": classes})


def _text(
    root: ElementTree.Element, at: tuple[float, float], words: str, classes: str, *, anchor: str = "start"
) -> None:
    place = {"x": f"{at[0]:.1f}", "y": f"{at[1]:.1f}", "class": classes, "text-anchor": anchor}
    ElementTree.SubElement(root, "text", place).text = words
