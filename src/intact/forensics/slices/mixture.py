"""Which slices of a volume are weighted sums of their neighbours, to the last bit.

What was measured differs from any sum of its neighbours, by noise or, where a volume is too smooth to
have any, by anatomy. A mean or an interpolation differs by rounding, everywhere alike. This tells
mixtures that were left as they were computed, in the smoothest of volumes too; `noise.py` tells those
that were processed afterwards, as long as there is noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from intact.forensics.slices.noise import FROM_EACH, REACH, around, sampled

ROUNDING = 1.0  # steps: rounding is off by a half, and weights that were fitted by a little more
FLOAT_STEP = 1e-4  # of all values' standard deviation, where they have no steps
APART = 2.0  # steps between two neighbours, from which on it means something to lie between them
FEWEST, MOST = 500, 4000  # such pixels that are looked at
OFF = 0.01  # of them, at most, are off in a mixture,
USUAL = 0.1  # and in the slices around it at least


def mixtures(slices: Num[ndarray, "d h w"]) -> dict[int, float]:
    """Slices that are the same sum of their neighbours everywhere, and the share of pixels that are not.

    Args:
        slices: Of one volume, in the order of their places, of any type and in any unit.
    """
    values = sampled(slices)
    whole = np.array_equal(values[0], np.rint(values[0]))
    step = 1.0 if whole else FLOAT_STEP * float(values.std())
    low, high = values.min(), values.max()
    off = np.full(len(values), np.nan)
    for n in range(1, len(values) - 1):
        own = values[n]
        # What is clipped is no longer a sum.
        telling = (np.abs(values[n - 1] - values[n + 1]) > APART * step) & (own > low) & (own < high)
        places = np.flatnonzero(telling)
        if len(places) >= FEWEST:
            places = places[:: 1 + len(places) // MOST]
            off[n] = _off(values[max(n - REACH, 0) : n + REACH + 1, places], min(n, REACH), ROUNDING * step)
    found = np.flatnonzero((off < OFF) & (around(off) > USUAL))
    return {int(n): float(off[n]) for n in found}


def _off(values: Float[ndarray, "k p"], own: int, tolerance: float) -> float:
    """The share of pixels at which one slice is not the best sum of the others; 1 if that is one-sided."""
    exact = values.astype(np.float64)
    others = np.delete(exact, own, axis=0)
    weights = np.linalg.lstsq(others.T, exact[own], rcond=None)[0]
    # From a mixture and one of its neighbours the other can be reckoned back.
    if weights[own - 1 : own + 1].min() < FROM_EACH:
        return 1.0
    return float(np.mean(np.abs(exact[own] - weights @ others) > tolerance))
