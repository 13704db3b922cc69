"""Writes the same weights with different entropy coders: what each tier takes in the file, and how fast it decodes."""

import dataclasses
import sys
import time
from pathlib import Path

import torch
from torch import nn

import featherweight as fw
from featherweight.frontends.safetensors import holder_of


def weights() -> nn.Module:
    """Two layers whose channels differ in size, as those of trained networks do."""
    torch.manual_seed(0)
    kernels = torch.randn(128, 64, 3, 3) * torch.rand(128, 1, 1, 1).exp() * torch.rand(1, 64, 1, 1)
    matrix = torch.randn(512, 1024) * torch.rand(512, 1) * torch.rand(1, 1024)
    return holder_of({"features.weight": kernels, "classifier.weight": matrix})


def main(folder: Path) -> None:
    """One recipe, three times; only `coder` differs."""
    model = weights()
    task = fw.Task(model=model, example=None, name="tiers")
    recipe = fw.Recipe.read("weights_only")
    for tier in ("huffman", "fast", "small"):
        result = fw.compress(model, dataclasses.replace(recipe, coder=tier), fw.Context(task))
        written = fw.save(result, folder / f"{tier}.fwt", extras=False)
        start = time.perf_counter()
        fw.load(folder / f"{tier}.fwt")
        rate = result.profile.parameters / (time.perf_counter() - start) / 1e6
        print(f"{tier:8s} {written.total_bytes:9,} bytes, loaded at {rate:5.1f} million weights a second")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
