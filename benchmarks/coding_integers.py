"""The integers that nncodec codes, and the same integers in files of ours: for bench_coding.py."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

import classic_tasks as tasks
from featherweight.container import header as headers
from featherweight.container.reader import Reader
from featherweight.container.source import MemorySource
from featherweight.container.spec import Header
from featherweight.container.writer import Contents, pieces
from featherweight.core import catalog
from featherweight.encodings import payload
from featherweight.encodings.base import Encoding
from featherweight.encodings.uniform import Uniform
from featherweight.entropy.base import Coder

PEER = "FEATHERWEIGHT_NNCODEC_PYTHON"
TIERS: dict[str, tuple[str, ...] | None] = {"fast": ("constant", "raw", "rans"), "small": None}  # None: all there are

Weights = dict[str, NDArray[np.float32]]
Levels = dict[str, NDArray[np.int32]]

_QP_OF_THE_REST = -75  # nncodec's default for tensors of one dimension


class Peer:
    """A running nncodec, asked by `ask`."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("coding_peer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ask(self, do: str, **task: Any) -> dict[str, Any]:
        """One answer of coding_peer.py. Raises: RuntimeError when it has died."""
        to_peer, from_peer = self._process.stdin, self._process.stdout
        try:
            to_peer.write(json.dumps({"do": do, **task}, default=str) + "\n")
            to_peer.flush()
            answer = from_peer.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the peer named by {PEER} does not answer; does it have nncodec?")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        with suppress(BrokenPipeError):  # it died with a question unread
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def running_peer() -> Iterator[Peer | None]:
    """The peer that the environment names; None where it names none."""
    python = os.environ.get(PEER)
    peer = Peer(python) if python else None
    try:
        yield peer
    finally:
        if peer is not None:
            peer.close()


@dataclass(frozen=True)
class Coded:
    """What nncodec made of a network at one quality; without a peer, `levels` are rounded ones and `peer` is None."""

    levels: Levels
    steps: dict[str, float]
    decoded: Weights  # what nncodec decodes; without it, level times step
    stream: Path
    peer: dict[str, Any] | None


def weights_of(network: str) -> Weights:
    """All floating tensors of a network that is there with its weights: "efficientnet-lite0" or "resnet-20"."""
    if network == "efficientnet-lite0":
        state = tasks.efficientnet_lite0(0).build().state_dict()
        return {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
    stored = load_file(Path(os.environ["FEATHERWEIGHT_DATA"]).parent / "models" / "cifar10-resnet20.safetensors")
    return {name: tensor for name, tensor in stored.items() if tensor.dtype == np.float32}


def coded(network: str, qp: int, folder: Path, peer: Peer | None) -> Coded:
    """nncodec's integers for a network, from `folder` where they lie there already."""
    place = folder / "nncodec" / f"{network}_qp{qp}"
    kept, levels, decoded = (place.with_name(place.name + end) for end in (".json", "_levels.npz", "_decoded.npz"))
    if not kept.exists() and peer is None:
        return _rounded(weights_of(network), qp, place.with_suffix(".nnc"))
    if not kept.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        source = folder / "nncodec" / f"{network}.npz"
        if not source.exists():
            np.savez(source, **weights_of(network))
        stream = place.with_suffix(".nnc")
        answer = peer.ask("encode", weights=source, qp=qp, stream=stream, levels=levels)
        peer.ask("decode", stream=stream, weights=decoded)
        kept.write_text(json.dumps(answer))
    said = json.loads(kept.read_text())
    steps = {name: step_of(tensor["qp"]) for name, tensor in said["tensors"].items()}
    return Coded(_arrays(levels), steps, _arrays(decoded), place.with_suffix(".nnc"), said)


def _rounded(weights: Weights, qp: int, stream: Path) -> Coded:
    """Levels about as large as nncodec's: to multiples of twice its step, as an even state of its trellis has them."""
    steps = {name: 2 * step_of(qp if value.ndim > 1 else _QP_OF_THE_REST) for name, value in weights.items()}
    levels = {name: np.rint(value / steps[name]).astype(np.int32) for name, value in weights.items()}
    decoded = {name: np.float32(steps[name]) * value.astype(np.float32) for name, value in levels.items()}
    return Coded(levels, steps, decoded, stream, None)


def step_of(qp: int) -> float:
    """The step of a quality (density 2, nncodec's default): four of them double it (ISO/IEC 15938-17)."""
    return (4 + (qp & 3)) * 2.0 ** ((qp >> 2) - 2)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as stored:
        return dict(stored)


def coders(tier: str) -> list[Coder]:
    """The coders of a tier that this installation has, in order of their numbers."""
    there = catalog.names("featherweight.entropy", ("tables",))
    names = there if TIERS[tier] is None else [name for name in there if name in TIERS[tier]]
    found = [catalog.load("featherweight.entropy", name, Coder, ("tables",))() for name in names]
    return sorted(found, key=lambda coder: coder.code)


def encodings(case: Coded) -> dict[str, Encoding]:
    """The integers as encodings of ours.

    Its trellis runs through the whole tensor, and ours is told so: the values are nncodec's too.
    """
    return {name: _encoding(case, name) for name in case.levels}


def _encoding(case: Coded, name: str) -> Encoding:
    levels, step = torch.from_numpy(case.levels[name]), torch.tensor([case.steps[name]], dtype=torch.float32)
    return Uniform(levels, step, dependent=case.peer is not None, continued=True)


def whole_file(content: Mapping[str, Encoding], chosen: Sequence[Coder]) -> bytes:
    """A complete `.fwt` file of weights alone: names, shapes, checksums and digest are in it."""
    packed = [(name, item, payload.encode(item, chosen)) for name, item in content.items()]
    records = tuple(headers.tensor_record(name, item.shape, made.spec) for name, item, made in packed)
    bodies = [partial(bytes, made.data) for _, _, made in packed]
    return b"".join(pieces(Contents(Header(records, None, (), ()), bodies, nonfinite=False)))


def read_back(data: bytes) -> dict[str, Encoding]:
    """The encodings in a file, every checksum of it compared."""
    with Reader(MemorySource(data)) as reader:
        return dict(reader.encodings())


def same_integers(case: Coded, read: Mapping[str, Encoding]) -> bool:
    """Whether a file gives the very integers back, and values that are the peer's."""
    return set(read) == set(case.levels) and all(_same(case, name, item) for name, item in read.items())


def _same(case: Coded, name: str, item: Encoding) -> bool:
    if not isinstance(item, Uniform) or not np.array_equal(item.levels.numpy(), case.levels[name]):
        return False
    return bool(np.array_equal(item.to_tensor().numpy(), case.decoded[name]))
