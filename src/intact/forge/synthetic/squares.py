"""Where FPI and PII put a foreign patch, and how much of it: one square per image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FACTORS = (0.05, 0.95)  # least and greatest share of the foreign image


class Square(NamedTuple):
    """A square, cut where it leaves the image, and the foreign image's share in it."""

    rows: slice
    columns: slice
    factor: float


def random_square(
    size: tuple[int, ...],
    rng: np.random.Generator,
    widths: tuple[float, float],
    core: float,
    rim: int = 0,
) -> Square:
    """A square whose place, width and factor are uniform.

    Args:
        size: Rows and columns of the image.
        rng: Draws everything.
        widths: Least and greatest half of its side, as shares of the image's rows.
        core: Its centre lies in the middle part of the image that has this share of its sides.
        rim: So many rows and columns of the image are kept free on each side.
    """
    least, most = (round(w * size[0]) for w in widths)
    half = int(rng.integers(least, max(most, least + 1)))
    spans = []
    for side in size:
        centre = int((1.0 - core) / 2.0 * side + rng.uniform(0.0, core * side))
        spans.append(slice(max(centre - half, rim), min(centre + half, side - rim)))
    return Square(spans[0], spans[1], float(rng.uniform(*FACTORS)))
