"""A story as a run of Deep Compression on a LeNet-5 would tell it, made up so that every part of the page has work."""

import math

import pytest

from featherweight.report.story import Attempt, Curve, Guard, Histogram, Layer, Step, Story

SHAPES = {
    "conv1.weight": ((20, 1, 5, 5), 0.66),
    "conv1.bias": ((20,), 1.0),
    "conv2.weight": ((50, 20, 5, 5), 0.12),
    "conv2.bias": ((50,), 1.0),
    "fc1.weight": ((500, 800), 0.08),
    "fc1.bias": ((500,), 1.0),
    "fc2.weight": ((10, 500), 0.19),
    "fc2.bias": ((10,), 1.0),
}


def _layer(name: str, shape: tuple[int, ...], density: float) -> Layer:
    weights = math.prod(shape)
    kept = round(weights * density)
    if density == 1.0:
        return Layer(name, shape, "dense", weights, (4 * weights, 4 * weights, 4 * weights, 4 * weights))
    stages = (4 * weights, kept * 4 + kept * 5 // 8, kept * 10 // 8 + 128, kept * 7 // 8 + 110)
    return Layer(name, shape, "sparse(codebook(dense))", kept, stages)


def _histogram(name: str) -> Histogram:
    counts = tuple(
        round(900 * math.exp(-(((bin_ - 24) / 9) ** 2)) * (1 - math.exp(-(((bin_ - 24) / 4) ** 2))))
        for bin_ in range(49)
    )
    centroids = tuple((-0.21 + 0.42 * index / 31, 40 + 7 * index) for index in range(32))
    return Histogram(name, -0.24, 0.24, counts, zeros=368_000, centroids=centroids)


@pytest.fixture
def story() -> Story:
    """A complete story with two steps."""
    layers = [_layer(name, shape, density) for name, (shape, density) in SHAPES.items()]
    weights = [name for name in SHAPES if name.endswith("weight")]
    prune = Guard(0.003, "backed_off", (Attempt(None, 0.9801), Attempt(0.3, 0.9925), Attempt(0.08, 0.9908)))
    share = Guard(0.003, "kept", (Attempt(5.0, 0.9911),))
    settings = {"density": 0.08, "rounds": 5, "epochs": 12.0}
    return Story(
        title="lenet5",
        recipe="deep_compression",
        steps=(
            Step(1, "pruning.connection.magnitude", settings, 142.3, 0.9921, 0.9908, 1_724_320, 181_000, prune),
            Step(2, "representation.sharing.kmeans", {"bits": 5}, 48.0, 0.9908, 0.9911, 181_000, 48_000, share),
        ),
        stages=("dense", "pruned", "shared", "coded"),
        layers=layers,
        histograms=[_histogram(name) for name in weights],
        curves=[
            Curve(
                name,
                tuple((d, 0.9921 - 0.88 * math.exp(-d * (14 + 6 * i))) for d in (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0)),
                chosen=SHAPES[name][1],
            )
            for i, name in enumerate(weights)
        ],
        dense_bytes=1_724_320,
        file_bytes=43_020,
        score_before=0.9921,
        score_after=0.9911,
        provenance={
            "featherweight": "0.1.0",
            "torch": "2.13.0",
            "seed": 0,
            "task": {"file": "examples/lenet5.py:task"},
        },
        recipe_text="version: 1\nname: deep_compression\nsteps:\n  - use: pruning.connection.magnitude\n",
    )
