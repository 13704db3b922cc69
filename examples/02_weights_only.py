"""Compresses a checkpoint without data and without the network; puts the result back into the network by name."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import featherweight as fw
from digits import task as describe
from featherweight.frontends.resolve import read_task


def main(folder: Path) -> None:
    """Only the names and tensors of the checkpoint are known to the recipe."""
    model = describe().build()
    save_file(model.state_dict(), folder / "digits.safetensors")

    weights = read_task(str(folder / "digits.safetensors"))
    result = fw.compress(weights.build(), "weights_only", fw.Context(weights))
    written = fw.save(result, folder / "digits.fwt", extras=False)

    small = fw.load(folder / "digits.fwt", into=describe().build())
    images = torch.rand(5, 1, 8, 8)
    change = (model(images) - small(images)).abs().max()
    before = (folder / "digits.safetensors").stat().st_size
    print(f"{before:,} bytes became {written.total_bytes:,}; outputs changed by at most {change:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
