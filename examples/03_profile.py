"""What a network costs, layer by layer: parameters, multiply-adds, bytes, time."""

import json

import torch

import featherweight as fw
from featherweight.networks.classic.lenet import LeNet5


def main() -> None:
    """The same figures for people and for programs."""
    profile = fw.profile(LeNet5(), (torch.zeros(1, 1, 28, 28),), latency=True)
    for layer in profile.layers:
        counts = f"{layer.parameters:9,} parameters {layer.macs or 0:11,} MACs"
        print(f"{layer.name:6} {layer.kind:8} {counts} {layer.encoding}")
    print(json.dumps(profile.summary(), indent=2))
    print("\n".join(profile.notes))


if __name__ == "__main__":
    main()
