"""The grey levels that a prepared plane had when it was a picture of bytes, and what JPEG left among them.

Networks see values over their range. What counts in whole steps, such as cosine coefficients, needs the unit
back: one grey level, where a plane has at most 256 evenly spaced values; else a part of its noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.forensics.jpeg.blocks import SIDE
from intact.forensics.jpeg.votes import NONE, grid_votes, main_grid
from intact.residual import noise_sigma

LEVELS = 256  # grey levels that JPEG files have
EVEN = 0.05  # of a grey level that values may lie beside it
NOISE = 0.5  # of the standard deviation of the noise: the unit where there are no grey levels
FINEST = 1 / 128  # of half the range: the unit where there is no noise either

Plane = Float[ndarray, "h w"]


def in_units(plane: Plane) -> Plane:
    """A prepared plane in grey levels; where it has none, in halves of the strength of its noise."""
    levels = grey_levels(plane)
    return (plane / (NOISE * noise_sigma(plane) or FINEST)).astype(np.float32) if levels is None else levels


def grey_levels(plane: Plane) -> Plane | None:
    """A prepared plane as whole numbers from 0 to 255 at most; None where its values are not so few and even.

    Zeros are not asked, as what was not measured is 0.
    """
    values = np.unique(plane[plane != 0])
    if not 2 <= len(values) <= LEVELS:
        return None
    unit = np.diff(values).min()
    levels = (values - values[0]) / unit
    if levels[-1] > LEVELS - 1 + EVEN or np.abs(levels - np.rint(levels)).max() > EVEN:
        return None
    return np.clip(np.rint((plane - values[0]) / unit), 0, LEVELS - 1).astype(np.float32)


def grid_origin(plane: Plane) -> tuple[int, int] | None:
    """Row and column where the first whole block of a JPEG file began; None where nothing tells.

    Args:
        plane: In grey levels, from any zero.
    """
    low, high = plane.min(), plane.max()
    if min(plane.shape) < 4 * SIDE or high - low >= LEVELS or (plane != np.rint(plane)).any():
        return None
    grid, _ = main_grid(grid_votes(plane))
    return None if grid == NONE else divmod(grid, SIDE)
