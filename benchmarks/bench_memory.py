"""Peak memory of `compress` against the dense weights, in a process of its own: pruning at once, then shared values.

    python benchmarks/bench_memory.py [--parameters 100000000] [--layers 24] [--run-dir] [--json]

`ratio` is the highest resident memory while `compress` and `save` ran, less what the process held before the model
was made (interpreter, torch), divided by the 4 bytes of each parameter. The user's own model is counted in.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
version: 1
name: at_once
steps:
  - use: pruning.connection.magnitude
    with: {density: 0.1, schedule: one_shot, allocation: uniform, epochs: 0}
  - use: representation.sharing.kmeans
    with: {bits: 5, epochs: 0}
"""
LIMIT = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--run-dir", action="store_true", help="keep every step on disk, as a resumable run does")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(measured(arguments)))
        return
    command = [sys.executable, __file__, "--inside", *sys.argv[1:]]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    print(json.dumps(found, indent=1) if arguments.json else told(found))
    sys.exit(found["ratio"] >= LIMIT)


def told(found: dict[str, float]) -> str:
    sizes = ", ".join(f"{name[:-6]} {found[name] / 1e6:,.0f} MB" for name in found if name.endswith("_bytes"))
    return f"{sizes}\npeak {found['ratio']:.2f} times the dense weights (limit {LIMIT}), {found['seconds']:.0f} s"


def measured(arguments: argparse.Namespace) -> dict[str, float]:
    import torch
    from torch import nn

    import featherweight as fw

    for name in fw.__all__:
        getattr(fw, name)  # what is imported counts as the floor
    fw.compress(
        nn.Linear(8, 8), fw.Recipe.read(RECIPE), fw.Context(fw.Task(model=nn.Linear(8, 8), example=torch.ones(2, 8)))
    )
    floor = resident()
    width = round((arguments.parameters / arguments.layers) ** 0.5)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(arguments.layers)))
    dense = 4 * sum(parameter.numel() for parameter in model.parameters())
    task = fw.Task(model=model, example=torch.zeros(1, width), name="wide")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run" if arguments.run_dir else None
        result = fw.compress(model, fw.Recipe.read(RECIPE), fw.Context(task), run_dir=run_dir)
        report = fw.save(result, Path(folder) / "out.fwt")
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "parameters": dense // 4,
        "dense_bytes": dense,
        "floor_bytes": floor,
        "peak_bytes": peak,
        "file_bytes": report.total_bytes,
        "ratio": (peak - floor) / dense,
        "seconds": seconds,
    }


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
