"""Times one-dimensional k-means of a large layer, assignment included: `python benchmarks/bench_kmeans.py --json`."""

import argparse
import json
import time

import torch

from featherweight.numerics.clustering import kmeans


def measure(weights: int, clusters: int, *, exact: bool) -> dict[str, object]:
    """Seconds and error of one clustering of normal weights."""
    values = torch.randn(weights, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    found = kmeans(values, clusters, exact=exact)
    seconds = time.perf_counter() - start
    return {
        "weights": weights,
        "clusters": clusters,
        "exact": exact,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 3),
        "iterations": len(found.history) - 1,
        "mean_squared_error": found.error / weights,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=25_000_000, help="how many weights the layer has")
    parser.add_argument("--clusters", type=int, nargs="+", default=[32], help="how many centroids")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    results = [
        measure(arguments.weights, clusters, exact=exact) for clusters in arguments.clusters for exact in (False, True)
    ]
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        kind = "exact" if result["exact"] else "lloyd"
        print(f"{result['weights']:>12,} weights {result['clusters']:>5} clusters {kind}: {result['seconds']:.2f} s")


if __name__ == "__main__":
    main()
