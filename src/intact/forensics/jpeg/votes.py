"""Which 8 x 8 grid the pixels of an image vote for.

Nikoukhah, Anger, Ehret, Colom, Morel & Grompone von Gioi, "JPEG grid detection based on the number of DCT
zeros and its application to automatic and localized forgery detection", CVPR Workshops 2019. JPEG rounds
many cosine coefficients to zero; a window that lies on its grid has more zeros than windows beside. Every
pixel votes for the grid whose window over it has most. By chance, votes would fall on each of the 64
grids alike, and that tells how often so many of one kind would occur: a number of false alarms, not a
threshold.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import stats

from intact.forensics.jpeg.blocks import SIDE, sliding_coefficients

GRIDS = SIDE * SIDE
ZERO = 0.499  # grey levels below which a coefficient counts as rounded to zero; half a level does not
NONE = -1  # no vote

Votes = Int[ndarray, "h w"]


def grid_votes(plane: Float[ndarray, "h w"]) -> Votes:
    """For every pixel the grid, 8 * row + column of its origin, whose window over it has most zeros.

    -1 where several have as many, where windows are constant along an axis, and at the border.
    """
    zeros = _zeros(plane)
    votes = np.full(plane.shape, NONE, np.int16)
    rows, columns = (np.arange(n) % SIDE for n in zeros.shape)
    grids = SIDE * rows[:, None] + columns
    # The highest key over a pixel holds the most zeros, and of ties the last grid or the first:
    # where these are not one grid, nobody has won. All 64 windows over a pixel differ in their grid.
    last, first = (_highest(GRIDS * zeros + key) for key in (grids, GRIDS - 1 - grids))
    grid = last % GRIDS
    won = (last >= GRIDS) & (grid == GRIDS - 1 - first % GRIDS)
    votes[SIDE - 1 : -SIDE + 1, SIDE - 1 : -SIDE + 1] = np.where(won, grid, NONE)
    return votes


def main_grid(votes: Votes) -> tuple[int, float]:
    """The grid with most votes, and the decimal logarithm of its number of false alarms.

    The grid is -1 if chance would give as many votes.
    """
    counts = np.bincount(votes[votes >= 0], minlength=GRIDS)
    best = int(counts.argmax())
    alarms = log_alarms(log_tests(votes.shape), math.ceil(votes.size / GRIDS), int(counts[best]) // GRIDS)
    return (best if alarms < 0 else NONE), alarms


def log_tests(shape: tuple[int, ...]) -> float:
    """Decimal logarithm of how many regions and grids are tried in an image of this shape."""
    return 2 * math.log10(GRIDS * shape[0] * shape[1])


def log_alarms(tests: float, windows: int, hits: int) -> float:
    """Decimal logarithm of how often chance gives so many votes of one kind among all that are tried."""
    windows = max(windows, hits)
    chance = float(stats.binom.logsf(hits - 1, windows, 1 / GRIDS))
    if math.isinf(chance):  # beyond what floats hold; Chernoff's bound lies above the truth
        share = hits / windows
        rest = (1 - share) * math.log((1 - share) * GRIDS / (GRIDS - 1)) if share < 1 else 0.0
        chance = -windows * (share * math.log(share * GRIDS) + rest)
    return tests + chance / math.log(10)


def _zeros(plane: Float[ndarray, "h w"]) -> Int[ndarray, "h2 w2"]:
    """How many cosine coefficients of the window that begins at each pixel round to zero.

    The mean does not count; windows that are constant along an axis have none.
    """
    height, width = plane.shape
    count = np.zeros((height - SIDE + 1, width - SIDE + 1), np.uint8)
    frequencies = list(np.ndindex(SIDE, SIDE))[1:]  # not the mean
    for response in sliding_coefficients(plane, frequencies):
        count += (np.abs(response) < ZERO).view(np.uint8)
    for axis in (0, 1):
        flat = np.abs(np.diff(plane, axis=axis, append=np.take(plane, [-1], axis=axis))) == 0
        run = np.ones((SIDE - 1, SIDE) if axis == 0 else (SIDE, SIDE - 1), np.uint8)
        constant = cv2.erode(flat.astype(np.uint8), run, anchor=(0, 0), borderValue=0) > 0
        count[constant[: count.shape[0], : count.shape[1]]] = 0
    return count.astype(np.int16)


def _highest(keys: Int[ndarray, "h2 w2"]) -> Int[ndarray, "h3 w3"]:
    """The highest key of the 8 x 8 windows over each pixel that has all of them."""
    spread = cv2.dilate(keys.astype(np.uint16), np.ones((SIDE, SIDE), np.uint8), anchor=(SIDE - 1, SIDE - 1))
    return spread[SIDE - 1 :, SIDE - 1 :].astype(np.int16)
