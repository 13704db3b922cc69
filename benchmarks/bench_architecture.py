"""Three ways to keep the architecture of a network in a file: what each takes and what it can do.

ONNX and torch.export archives are measured without their weights; names of tensors are kept in all three. "Deflated"
is zlib level 9 over the whole. Code that loading runs is counted by the audit events of Python: source text that is
compiled, and classes that a pickle names. Needs: pip install 'featherweight[onnx]'.

    python benchmarks/bench_architecture.py [--only NETWORK] [--json]
"""

import argparse
import io
import json
import statistics
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from featherweight.container import cbor
from featherweight.core.optional import need
from featherweight.graph.module import tensors_of, to_module
from featherweight.graph.plain import from_plain, to_plain
from featherweight.graph.trace import trace
from featherweight.networks.classic.lenet import LeNet5, LeNet300100
from featherweight.networks.classic.lstm_classifier import LstmClassifier
from featherweight.networks.classic.resnet_cifar import resnet20

NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "lenet_300_100": lambda: (LeNet300100(), torch.randn(1, 1, 28, 28)),
    "lenet5": lambda: (LeNet5(), torch.randn(1, 1, 28, 28)),
    "resnet20": lambda: (resnet20(), torch.randn(1, 3, 32, 32)),
    "lstm": lambda: (LstmClassifier(), torch.randn(1, 28, 28)),
}
LENET5_LIMIT = 250  # bytes; the whole overhead of a LeNet-5 file is to stay below 1 KiB


@dataclass(frozen=True)
class Row:
    """One measurement; `target` and `met` are None where nothing is to be reached."""

    work: str
    value: float
    unit: str
    target: float | None = None
    met: bool | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    torch.manual_seed(0)
    _count_events()
    rows = [row for name in NETWORKS if options.only in (None, name) for row in measure(name)]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        for row in rows:
            goal = "" if row.target is None else f"  (target {row.target:g}: {'met' if row.met else 'MISSED'})"
            print(f"{row.work:52} {row.value:>12.6g} {row.unit}{goal}")
    return 0 if all(row.met is not False for row in rows) else 1


def measure(name: str) -> Iterator[Row]:
    """All rows of one network."""
    model, example = NETWORKS[name]()
    model.eval()
    graph = trace(model, example)
    tensors = {key: item.detach().clone() for key, item in tensors_of(graph, model).items()}
    ours, in_file = cbor.encode(to_plain(graph)), cbor.encode(to_plain(graph, names=False))
    onnx, lean = onnx_bytes(model, example)
    archive = archive_bytes(model, example)
    for label, pack in (("", bytes), (", deflated", lambda part: zlib.compress(part, 9))):
        value, other = len(pack(ours)), min(len(pack(lean)), len(pack(archive)))
        limit = LENET5_LIMIT if name == "lenet5" and not label else other  # no larger than the smaller of the others
        yield Row(f"{name}: plain graph with names{label}", value, "bytes", limit, value <= limit)
    yield Row(f"{name}: plain graph in a .fwt (names are kept once)", len(in_file), "bytes")
    for label, part in (("ONNX", onnx), ("ONNX without metadata", lean), ("torch.export archive", archive)):
        yield Row(f"{name}: {label}", len(part), "bytes")
        yield Row(f"{name}: {label}, deflated", len(zlib.compress(part, 9)), "bytes")
    loaded = to_module(from_plain(to_plain(graph)), tensors)
    yield from behaviour(name, model, loaded, example)
    yield from events(name, model, example, ours, tensors)


def behaviour(name: str, model: nn.Module, loaded: nn.Module, example: torch.Tensor) -> Iterator[Row]:
    """Equality, training and speed of the model out of the plain graph."""
    batch = torch.cat([example] * 32) + torch.randn(32, *example.shape[1:])
    with torch.no_grad():
        worst = (loaded(batch) - model(batch)).abs().max().item()
    yield Row(f"{name}: largest difference of outputs", worst, "absolute", 1e-6, worst <= 1e-6)
    falls = _trains(loaded, batch)
    yield Row(f"{name}: loss after 10 steps of training, of before", falls, "share", 1.0, falls < 1.0)
    with torch.no_grad():
        eager, interpreted = _alternating(lambda: model(example), lambda: loaded(example))
    yield Row(f"{name}: forward of one example, the class", eager * 1e6, "microseconds")
    yield Row(f"{name}: forward of one example, the graph", interpreted * 1e6, "microseconds")


def events(
    name: str, model: nn.Module, example: torch.Tensor, ours: bytes, tensors: dict[str, torch.Tensor]
) -> Iterator[Row]:
    """What loading runs: ours, and torch.export's."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,), strict=False), buffer)

    def load_ours() -> nn.Module:
        return to_module(from_plain(cbor.Decoder(ours).value()), tensors)

    def load_archive() -> nn.Module:
        buffer.seek(0)
        return torch.export.load(buffer).module()

    for label, load, target in (("plain graph", load_ours, 0.0), ("torch.export archive", load_archive, None)):
        load()  # what is imported on first use is no code of the file
        with _counted() as found:
            load()
        for event, unit in (("compile", "source texts compiled"), ("pickle.find_class", "classes named by a pickle")):
            met = None if target is None else found[event] <= target
            yield Row(f"{name}: {label}, {unit}", found[event], "events", target, met)
        seconds = statistics.median(_timed(load, time.process_time) for _ in range(5))
        yield Row(f"{name}: {label}, time to load", seconds * 1e3, "CPU milliseconds")


def onnx_bytes(model: nn.Module, example: torch.Tensor) -> tuple[bytes, bytes]:
    """The ONNX graph without its weights: as exported, and without the metadata of where each node came from."""
    need("onnxscript", extra="onnx", purpose="the comparison with ONNX")
    program: Any = torch.onnx.export(model, (example,), dynamo=True, verbose=False)
    proto = program.model_proto
    for tensor in proto.graph.initializer:
        for content in ("raw_data", "float_data", "int64_data", "external_data"):
            tensor.ClearField(content)
    everything = proto.SerializeToString()
    for item in [*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer, *proto.graph.input]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    proto.graph.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    return everything, proto.SerializeToString()


def archive_bytes(model: nn.Module, example: torch.Tensor) -> bytes:
    """The members of a torch.export archive that hold no weights, one after the other."""
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,), strict=False), buffer)
    with zipfile.ZipFile(buffer) as archive:
        kept = [item for item in archive.namelist() if not _is_weight(item)]
        return b"".join(item.encode() + archive.read(item) for item in kept)


def _is_weight(member: str) -> bool:
    inside = "/weights/" in member or "/constants/" in member or "/sample_inputs/" in member
    return inside and not member.endswith(".json")


def _trains(model: nn.Module, batch: torch.Tensor) -> float:
    target = torch.arange(len(batch)) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(11):
        loss = nn.functional.cross_entropy(model(batch), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[-1] / losses[0]


def _timed(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def _alternating(*works: Callable[[], Any], rounds: int = 200) -> list[float]:
    """Median seconds of each, measured in turns so that both see the same machine."""
    times = [[_timed(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


_EVENTS: Counter[str] = Counter()


def _count_events() -> None:
    sys.addaudithook(_heard)


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if event in ("compile", "pickle.find_class"):
        _EVENTS[event] += 1


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    before = Counter(_EVENTS)
    found: Counter[str] = Counter()
    yield found
    found.update({event: _EVENTS[event] - before[event] for event in _EVENTS})


if __name__ == "__main__":
    sys.exit(main())
