"""The trellis of dependent quantization: the grid of a level follows from the parities of the levels before it.

Levels k of a row are read one after the other. A machine of eight states begins each row in state 0 and goes from
state s to `NEXT[s][k & 1]`. An even state has the even multiples of the step, an odd one the odd multiples and zero:
the value of k is step * (2 k - sgn(k) (s & 1)). So a fine grid of spacing `step` costs the levels of a grid twice as
coarse, and who quantizes picks the path (about 1 dB at the same rate). Source: ISO/IEC 15938-17 (NNC); H. Schwarz et
al., "Improved quantization and transform coefficient coding for the Enhanced Compression Model", 2018; catalogue, B16.

The machine is linear over GF(2): next = A s xor 2 (k & 1), with A^4 = 1. So s & 1 of a place is the parity of all
levels that lie 2 or 3 places (mod 4) before it, and rows are read without a loop over their columns.
"""

import numpy as np
from numpy.typing import NDArray

NEXT = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))
"""The next state, by state and by parity of the level."""

Levels = NDArray[np.int32]


def multiples(levels: Levels) -> Levels:
    """The multiples of the step that levels stand for, both int32 of shape (rows, columns); |level| below 2^30."""
    found: Levels = 2 * levels - np.sign(levels).astype(np.int32) * odd_states(levels)
    return found


def odd_states(levels: Levels) -> NDArray[np.int8]:
    """1 for each level, shape (rows, columns), that is met in an odd state, else 0."""
    rows, columns = levels.shape
    parity = np.zeros((rows, columns + 3), np.int8)
    parity[:, 3:] = levels & 1
    fours = -(-columns // 4)
    odd = np.zeros((rows, fours * 4), np.int8)
    odd[:, :columns] = parity[:, 1 : columns + 1] ^ parity[:, :columns]
    lanes = odd.reshape(rows, fours, 4)
    np.bitwise_xor.accumulate(lanes, axis=1, out=lanes)
    return odd[:, :columns]
