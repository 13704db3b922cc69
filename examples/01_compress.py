"""Compresses a network with Deep Compression, writes the file, opens it without the network's class."""

import sys
from pathlib import Path

import featherweight as fw
from digits import task as describe
from featherweight.training.evaluate import evaluate
from featherweight.training.losses import score_of


def main(folder: Path) -> None:
    """A trained network goes in, a small file comes out, and it runs."""
    task = describe()
    model = task.build()
    result = fw.compress(model, "deep_compression", fw.Context(task))
    written = fw.save(result, folder / "digits.fwt")
    opened = fw.load(folder / "digits.fwt")

    test = task.examples("test")
    for name, network in (("dense", model), ("opened", opened)):
        print(f"{name}: {100 * evaluate(network, test, score_of(task)):.1f} % of {len(test)} test digits are right")
    print(f"{result.profile.dense_bytes:,} bytes became {written.total_bytes:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
