"""The peers of bench_checkpoint.py: zstd and zipnn, in a process and an environment of their own.

Runs under the interpreter of an environment that has `zstandard`, `zipnn` and `safetensors`. Reads one JSON object a
line from standard input and answers each with one on standard output:

    {"do": "encode", "with": "zstd", "values": FILE, "type": "bfloat16"}   -> {"bytes": n, "seconds": s}
    {"do": "decode", "with": "zstd"}                                       -> {"seconds": s, "same": true}
    {"do": "load", "with": "zipnn"}                                        -> {"seconds": s, "tensors": n}

zstd runs at level 19, zipnn with its defaults for the type, both on one thread. Seconds are those that a core worked.
What was encoded last is decoded; `load` takes it for a safetensors file and reads its tensors too.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import zipnn
import zstandard
from safetensors.torch import load as load_safetensors

LEVEL = 19


class Peers:
    """Both peers; each keeps what it encoded last."""

    def __init__(self) -> None:
        self.plain, self.coded = b"", {}
        self.zip = zipnn.ZipNN(threads=1)

    def encode(self, order: dict[str, Any]) -> dict[str, Any]:
        self.plain = Path(order["values"]).read_bytes()
        self.zip = zipnn.ZipNN(bytearray_dtype=order["type"], threads=1)
        start = time.process_time()
        if order["with"] == "zstd":
            data = zstandard.ZstdCompressor(level=LEVEL).compress(self.plain)
        else:
            data = bytes(self.zip.compress(bytearray(self.plain)))  # it works in the place of what it is given
        self.coded[order["with"]] = data
        return {"bytes": len(data), "seconds": time.process_time() - start}

    def decode(self, order: dict[str, Any]) -> dict[str, Any]:
        data = self.coded[order["with"]]
        start = time.process_time()
        plain = zstandard.ZstdDecompressor().decompress(data) if order["with"] == "zstd" else self.zip.decompress(data)
        return {"seconds": time.process_time() - start, "same": bytes(plain) == self.plain}

    def load(self, order: dict[str, Any]) -> dict[str, Any]:
        data = self.coded[order["with"]]
        start = time.process_time()
        tensors = load_safetensors(bytes(self.zip.decompress(data)))
        return {"seconds": time.process_time() - start, "tensors": len(tensors)}


def main() -> None:
    """Answers until the input ends."""
    peers = Peers()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(peers, order["do"])(order)), flush=True)


if __name__ == "__main__":
    main()
