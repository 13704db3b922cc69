"""How the score falls when one tensor alone is pruned, and the densities at which all tensors cost the same.

Han et al. 2015, section 3: each layer alone over a range of densities, no retraining; thresholds are then chosen so
that every layer loses equally.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from featherweight.core.context import Context
from featherweight.numerics.masks import keep_largest
from featherweight.techniques._selection import Weight

Curve = Sequence[Sequence[float]]
"""Pairs (density, score), densities descending from 1."""

DENSITIES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)


def scan(model: nn.Module, weights: Sequence[Weight], context: Context) -> dict[str, list[list[float]]]:
    """The curve of every weight: validation scores with the smallest weights of this tensor alone set to zero."""
    base = context.evaluate(model)
    curves = {}
    with context.progress.bar("sensitivity", len(weights) * len(DENSITIES)) as bar:
        for weight in weights:
            curves[weight.name] = [[1.0, base]]
            before = weight.parameter.detach().clone()
            for density in DENSITIES:
                with torch.no_grad():
                    mask = keep_largest(before.abs(), max(1, round(density * before.numel())))
                    weight.parameter.copy_(before * mask)
                curves[weight.name].append([density, context.evaluate(model)])
                bar.advance()
            with torch.no_grad():
                weight.parameter.copy_(before)
    return curves


def equal_drop(curves: Mapping[str, Curve], sizes: Mapping[str, int], density: float) -> dict[str, float]:
    """Densities by name at which each tensor alone costs the same score, and that keep `density` of all weights.

    Where a curve has fallen half of the way down it says no more about how dense a retrained tensor must be: for
    smaller budgets the densities at that drop are all scaled by one factor.
    """
    total = sum(sizes.values())
    low, high = 0.0, max(curve[0][1] - min(score for _, score in curve) for curve in curves.values()) / 2
    for _ in range(60):
        middle = (low + high) / 2
        kept = sum(sizes[name] * density_at(curve, middle) for name, curve in curves.items())
        low, high = (middle, high) if kept > density * total else (low, middle)
    found = {name: density_at(curve, high) for name, curve in curves.items()}
    return _scaled(found, sizes, density)


def density_at(curve: Curve, drop: float) -> float:
    """The least density that costs at most `drop`, between the measured points by a straight line.

    Scores of a small set jump up and down; a density counts as harmful as soon as a higher one was.
    """
    limit = curve[0][1] - drop
    before_density, before = curve[0]
    for density, score in curve[1:]:
        worst = min(before, score)
        if worst < limit:
            return before_density + (density - before_density) * (before - limit) / (before - worst)
        before_density, before = density, worst
    return before_density


def _scaled(densities: Mapping[str, float], sizes: Mapping[str, int], density: float) -> dict[str, float]:
    """All densities times one factor, none above 1, so that `density` of all weights is kept."""
    wanted = density * sum(sizes.values())
    scaled = dict(densities)
    for _ in range(len(sizes) + 1):  # each pass at least one tensor reaches 1, or the budget is met
        free = [name for name in scaled if scaled[name] < 1]
        rest = wanted - sum(sizes[name] for name in scaled if scaled[name] >= 1)
        kept = sum(sizes[name] * scaled[name] for name in free)
        if not free or kept <= 0 or rest <= 0:
            break
        scaled |= {name: min(1.0, scaled[name] * rest / kept) for name in free}
    return scaled
