"""The parts of bench_coding.py that need neither data sets nor the peer."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from featherweight.encodings.uniform import Uniform
from featherweight.numerics import trellis

pytest.importorskip("PIL")

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = (
    "bench_classic",
    "bench_coding",
    "classic_tasks",
    "coding_curve",
    "coding_integers",
    "coding_peer",
    "coding_streams",
)


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of the benchmarks by name; none of them stays imported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def test_the_peer_tells_the_levels_behind_the_multiples_of_a_trellis(bench):
    peer = bench("coding_peer")
    levels = np.random.default_rng(0).integers(-4, 5, (7, 33), dtype=np.int32)
    multiples = trellis.multiples(levels.reshape(1, -1)).reshape(levels.shape)
    assert (np.abs(multiples) != np.abs(2 * levels)).any()
    assert (peer.levels_of(multiples) == levels).all()
    assert peer.NEXT == trellis.NEXT


def test_the_sizes_of_units(bench):
    peer = bench("coding_peer")
    short, long = bytes([0, 5, 1, 2, 3]), (0x80000000 | 70_000).to_bytes(4, "big") + bytes(69_996)
    assert peer.unit_sizes(short + long + short) == [5, 70_000, 5]
    for broken in (short[:-1], bytes(2), long[:100]):
        with pytest.raises(ValueError, match="claims"):
            peer.unit_sizes(broken)


def test_a_stand_in_takes_anything_and_has_no_secrets(bench, monkeypatch):
    peer = bench("coding_peer")
    for name in ("not_there", "not_there.inner"):
        monkeypatch.setitem(sys.modules, name, None)
        peer.stand_in(name)
    outer = import_module("not_there")
    assert outer.inner is import_module("not_there.inner")
    outer.inner.Compose([outer.inner.Resize(3, size=1)])
    assert not hasattr(outer, "__file__")


def test_an_interpreter_without_the_peer_says_so(bench):
    with pytest.raises(ImportError):
        import_module("nncodec")
    peer = bench("coding_integers").Peer(sys.executable)
    with pytest.raises(RuntimeError, match="does not answer"):
        peer.ask("decode", stream="none")
    peer.close()


def test_four_qualities_double_the_step(bench):
    step_of = bench("coding_integers").step_of
    assert step_of(-28) == 2.0**-7
    assert step_of(-75) == 5 * 2.0**-21
    assert [step_of(qp + 4) / step_of(qp) for qp in range(-40, 0)] == [2.0] * 40


@pytest.fixture
def case(bench):
    integers = bench("coding_integers")
    weights = {
        "weight": np.random.default_rng(1).normal(0, 0.05, (40, 3, 5)).astype(np.float32),
        "wide": np.array([1e-5, 700.0], np.float32),
    }
    return integers._rounded(weights, -28, Path("none"))


@pytest.mark.parametrize("tier", ["small", "fast"])
def test_a_whole_file_gives_the_integers_back(bench, case, tier):
    integers = bench("coding_integers")
    content = integers.encodings(case)
    assert isinstance(content["weight"], Uniform)
    assert isinstance(content["wide"], Uniform)
    data = integers.whole_file(content, integers.coders(tier))
    read = integers.read_back(data)
    assert integers.same_integers(case, read)
    assert len(data) < 600 * 2
    for name in case.levels:
        for kept in (case.levels, case.decoded):
            before = kept[name].copy()
            kept[name].flat[0] += 1
            assert not integers.same_integers(case, read)
            kept[name] = before
    assert not integers.same_integers(case, {"weight": read["weight"]})


def test_parts_are_streams_of_the_weights_alone(bench, case):
    streaming = bench("coding_streams")
    (part,) = streaming.parts(case, "small")
    assert part.name == "weight"
    assert (part.coder.from_bits(part.data, part.stream) == part.symbols).all()
    assert 8 * len(part.data) > streaming.entropy(part.symbols) > 600


def test_a_size_counts_only_beside_the_peer_and_when_the_integers_came_back(bench, case):
    coding = bench("bench_coding")
    alone = coding._size_row("integers", case, 95, True, "small")
    assert (alone["value"], alone["met"], alone["bytes"]) == (None, None, 95)
    assert "not there" in alone["peer"]
    beside = replace(case, peer={"bytes": 100, "version": "0"})
    rows = [
        (95, True, "small", True),
        (96, True, "small", False),
        (90, False, "small", False),
        (95, True, "fast", None),
    ]
    for size, exact, tier, met in rows:
        row = coding._size_row("integers", beside, size, exact, tier)
        assert (row["value"], row["met"]) == (size / 100, met)


def test_entropy_of_what_is_drawn_evenly(bench):
    assert bench("coding_streams").entropy(np.arange(256, dtype=np.uint8).repeat(3)) == pytest.approx(8 * 768)


def test_actions_take_turns(bench):
    streaming = bench("coding_streams")
    calls = []
    seconds = streaming.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, lambda: 7.0)
    assert calls == ["a", "b"] * streaming.ROUNDS
    assert seconds["peer"] == 7.0
    assert set(streaming.in_turns({"a": list}, None)) == {"a"}


@pytest.fixture
def curve(bench):
    made = bench("coding_curve")
    point = made.Point
    ours = (point("a", 1000, 80.0, 79.0), point("b", 900, 79.0, 80.0), point("c<&", 2000, 81.0, 81.0))
    return made.Curve(point("dense", 18_000, 82.0, 81.5), ours, (point("nncodec -28", 2500, 80.0, 80.5),))


def test_the_smallest_point_that_holds_on_the_half_for_choices_is_taken(bench, curve, tmp_path):
    made = bench("coding_curve")
    row = made.row(curve, tmp_path / "plot.svg")
    assert (row["recipe"], row["value"], row["met"]) == ("a", 18.0, False)  # it loses more on the half reported
    alone = made.row(made.Curve(curve.dense, curve.ours, ()), tmp_path / "plot.svg")
    assert (alone["met"], alone["peer_value"], alone["recipe"]) == (None, None, "b")
    none = made.row(made.Curve(curve.dense, (), curve.peer), tmp_path / "plot.svg")
    assert (none["met"], none["value"]) == (False, None)


def test_the_plot_is_a_drawing_of_all_points(bench, curve):
    made = bench("coding_curve")
    root = ElementTree.fromstring(made.drawing(curve))
    space = "{http://www.w3.org/2000/svg}"
    hints = [dot.find(f"{space}title").text for dot in root.iter(f"{space}circle")]
    assert hints == [
        "nncodec -28: 2,500 bytes, 80.5 %",
        "b: 900 bytes, 80.0 %",
        "a: 1,000 bytes, 79.0 %",
        "c<&: 2,000 bytes, 81.0 %",
    ]
    places = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{space}circle")]
    assert places[1][0] < places[2][0] < places[3][0] < places[0][0]
    assert places[3][1] < places[0][1] < places[1][1] < places[2][1]
