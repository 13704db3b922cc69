"""The peer of bench_coding.py: nncodec, in a process and an environment of its own.

Runs under the interpreter of an environment that has `nncodec` and need not have featherweight. Reads one JSON object
a line from standard input and answers each with one on standard output:

    {"do": "encode", "weights": A.npz, "qp": -28, "stream": B.nnc, "levels": C.npz}
    {"do": "decode", "stream": B.nnc}                         (adds "weights": D.npz to have the values as well)

`levels` are the integers that nncodec's entropy coder codes, by tensor name: under dependent quantization the level k,
of which the value step * (2 k - sign(k) * (state & 1)) is made, not that multiple of the step.
"""

import importlib
import json
import sys
import time
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]

# The eight states of dependent quantization: the next one by the parity of a level (ISO/IEC 15938-17, 8-state trellis).
NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))

_UNUSED = ("torchvision", "torchvision.datasets", "torchvision.models", "torchvision.transforms")


class Nncodec:
    """nncodec's coding, with its defaults, and what passes through it."""

    def __init__(self) -> None:
        for name in _UNUSED:
            stand_in(name)
        self.api = importlib.import_module("nncodec.nnc")
        self.coding = importlib.import_module("nncodec.nnc_core.coder").baseline

    def encode(self, task: Found) -> Found:
        """Codes the float32 tensors of an .npz with nncodec's defaults and says what each of them took."""
        with np.load(task["weights"]) as stored:
            weights = dict(stored)
        seen: dict[str, Found] = {}
        original, self.coding.encode = self.coding.encode, watched(self.coding.encode, seen)
        try:
            start = time.perf_counter()
            stream = self.api.compress(
                weights, bitstream_path=None, qp=task["qp"], row_skipping=True, return_bitstream=True
            )
            seconds = time.perf_counter() - start
        finally:
            self.coding.encode = original
        Path(task["stream"]).write_bytes(stream)
        np.savez(task["levels"], **{name: kept.pop("levels") for name, kept in seen.items()})
        sizes = unit_sizes(stream)[-len(seen) :]
        tensors = {name: {"bytes": size, **kept} for (name, kept), size in zip(seen.items(), sizes, strict=True)}
        return {
            "version": version("nncodec"),
            "qp": task["qp"],
            "seconds": seconds,
            "bytes": len(stream),
            "tensors": tensors,
        }

    def decode(self, task: Found) -> Found:
        """Decodes a bitstream; `seconds` are those of nncodec from bytes in memory to float32 arrays."""
        stream = bytearray(Path(task["stream"]).read_bytes())
        start = time.perf_counter()
        weights = self.api.decompress(stream)
        seconds = time.perf_counter() - start
        if "weights" in task:
            np.savez(task["weights"], **weights)
        return {"seconds": seconds, "values": sum(value.size for value in weights.values())}


class _Nothing:
    """Takes any arguments and does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass


def stand_in(name: str) -> None:
    """Puts an empty module in the place of one that nncodec imports and never codes with, and that may not import."""
    module = types.ModuleType(name)
    module.__path__ = []
    module.__getattr__ = _attribute
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


def _attribute(name: str) -> type[_Nothing]:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing


def watched(original: Callable[..., Any], seen: dict[str, Found]) -> Callable[..., Any]:
    """nncodec's coding of one tensor, with what it is given kept in `seen`."""

    def encode_one(encoder: Any, data: Found, base: Any, name: str, *rest: Any) -> Any:
        dependent = bool(data["dq_flag"][name])
        multiples = data["parameters"][name]
        levels = levels_of(multiples) if dependent else multiples.copy()
        seen[name] = {"levels": levels, "qp": int(data["qp"][name]), "dependent": dependent}
        return original(encoder, data, base, name, *rest)

    return encode_one


def levels_of(multiples: np.ndarray) -> np.ndarray:
    """The coded levels, int32, of a tensor whose values are `multiples` of the step under dependent quantization."""
    levels = np.zeros(multiples.size, dtype=np.int32)
    state = 0
    for place, multiple in enumerate(multiples.reshape(-1).tolist()):
        level = 0
        if multiple:
            level = (multiple + (state & 1 if multiple > 0 else -(state & 1))) >> 1
            levels[place] = level
        state = NEXT[state][level & 1]
    return levels.reshape(multiples.shape)


def unit_sizes(stream: bytes) -> list[int]:
    """Bytes of each unit of an NNR bitstream: its first bit says whether 15 or 31 bits of size follow."""
    sizes, place = [], 0
    while place < len(stream):
        long = stream[place] >> 7
        size = int.from_bytes(stream[place : place + (4 if long else 2)], "big") & (0x7FFFFFFF if long else 0x7FFF)
        if not 0 < size <= len(stream) - place:
            raise ValueError(f"a unit at byte {place} claims {size} bytes; the stream has {len(stream)}")
        sizes.append(size)
        place += size
    return sizes


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # nncodec talks on standard output
    peer = Nncodec()
    actions = {"encode": peer.encode, "decode": peer.decode}
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(actions[task["do"]](task)), file=answers, flush=True)


if __name__ == "__main__":
    main()
