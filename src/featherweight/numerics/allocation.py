"""One price of a bit for all tensors, found so that they fit a budget together.

With one price everywhere no byte can be moved from one tensor to another to any gain (Shoham and Gersho 1988,
"Efficient bit allocation for an arbitrary set of quantizers"). Size falls as the price rises, roughly by half a bit a
weight each time the price doubles, so bisection on its logarithm ends in a few steps.
"""

import math
from collections.abc import Callable

from featherweight.errors import TechniqueError

ROUNDS = 24  # trials at most; few are needed where the size falls as it does at a high rate
_CLOSE = 0.998  # of the budget: near enough to stop
_AIM = 0.999  # of the budget


def price_for(budget: float, size: Callable[[float], float], start: float, weights: int) -> float:
    """The least price found at which `size(price)` is at most `budget` bytes; `start` above 0 is a first guess.

    `weights` is how many weights share the budget; it only steers the search. `size` need not fall evenly.

    Raises: TechniqueError when no price makes it small enough.
    """
    below, above = -math.inf, math.inf  # logarithms (base 2) of prices that are too low, and low enough
    place, reach = math.log2(start), 0.02
    for _ in range(ROUNDS):
        found = size(math.exp2(place))
        if found <= budget:
            above = min(above, place)
            if found >= _CLOSE * budget:
                break
        else:
            below = max(below, place)
        guess = place + 16 * (found - _AIM * budget) / weights
        if math.isinf(below) or math.isinf(above):
            ahead = 1 if found > budget else -1
            place += ahead * min(max(ahead * (guess - place), reach), 12.0)
            reach *= 4  # where the guess falls short again and again
        else:
            margin = 0.1 * (above - below)
            place = guess if below + margin < guess < above - margin else (below + above) / 2
    if math.isinf(above):
        raise TechniqueError("no step makes the weights this small", value=budget, fix="Allow more bytes.")
    return math.exp2(above)
