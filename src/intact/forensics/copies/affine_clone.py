"""Copies that were turned, scaled or mirrored: the map between two regions, and whether the noise repeats.

The twin of `clone.py`, where copies were only moved. A map is first made exact: to half a pixel, as
noise one pixel off is no longer alike. Resampling smooths noise, so what was copied from is put through
the same resampling before the two are compared, once for each of the two directions. Only quiet places
are compared: the edges of ribs, or of a scanner's table, are alike in genuine twins too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from intact.forensics.base import Evidence
from intact.forensics.copies.affine_map import Map, Mask, inverse, mapped, plausible, refined
from intact.forensics.copies.clone import MOST, TWINS
from intact.forensics.copies.same_noise import FEWEST, Grainy, begun, likeness

__all__ = ["AffineClone", "confirm", "confirm_all", "mapped", "told", "words"]

SURE = 1e-3  # p-value above which nothing is said
# Sigmas of the blurs under which a map is refined, one after another, in pixels; and what to try next.
BLURS = ((0.0,), (1.2, 0.0))
TRIED = 1500  # maps: all of these, and two searches over six numbers, each looked at from both sides


@dataclass(frozen=True, eq=False)
class AffineClone:
    """Two regions that show the same, one of them turned, scaled or mirrored.

    Args:
        matrix: float64, takes (row, column, 1) of a pixel of one region to (row, column) of its like.
        mask: One region.
        other: The other.
        correlation: Of their noise.
        p_value: How often genuine twins would share so much noise, at this size and over all maps that
            were tried.
    """

    matrix: Map
    mask: Mask
    other: Mask
    correlation: float
    p_value: float

    @property
    def both(self) -> Mask:
        """Both regions."""
        return self.mask | self.other


def confirm(image: Grainy, mask: Mask, matrix: Map, tests: int) -> AffineClone | None:
    """The clone, if the noise of a region repeats where a map takes it, and nowhere near that.

    Args:
        image: The image, and what its noise is like.
        mask: The region.
        matrix: From (row, column, 1) of its pixels to (row, column) of their likes, to some 2 pixels and
            3 degrees. It is made exact.
        tests: How many pairs of regions are asked about, in all.

    Returns:
        None where the noise does not repeat, or where there is too little of it.
    """
    inside = mask & image.valid
    if np.count_nonzero(inside) < FEWEST or not image.sigma or not plausible(matrix):
        return None
    rough = begun(image.plane, inside, np.asarray(matrix, np.float64))
    for blurs in BLURS:
        exact = refined(image.plane, inside, rough, blurs)
        if not plausible(exact):
            continue
        other = mapped(inside, exact) & image.valid
        # What was resampled is smoother than what it came from, and nobody knows which is which.
        ways = ((inside, exact), (other, inverse(exact)))
        alike = max(likeness(image, region, way) for region, way in ways)
        p_value = min(1.0, tests * TRIED * float(stats.norm.sf(alike.deviations)))
        if p_value <= SURE:
            return AffineClone(exact, inside, other, alike.correlation, p_value)
    return None


def confirm_all(image: Grainy, regions: Iterable[tuple[Mask, Map]]) -> list[AffineClone]:
    """Of regions and their maps those that `confirm` believes, the surest first.

    Args:
        image: The image, and what its noise is like.
        regions: The likeliest first; after `MOST` no more are looked at.
    """
    asked = np.zeros(image.plane.shape, bool)
    fresh: list[tuple[Mask, Map]] = []
    for mask, matrix in regions:
        if len(fresh) == MOST:
            break
        # The other way round it is the same question.
        if np.count_nonzero(mask & asked) <= np.count_nonzero(mask) / 2 and plausible(matrix):
            fresh.append((mask, matrix))
            asked |= mapped(mask, matrix)
    found = [confirm(image, mask, matrix, tests=len(fresh)) for mask, matrix in fresh]
    return sorted((clone for clone in found if clone), key=lambda clone: clone.p_value)


def told(shape: tuple[int, ...], clones: list[AffineClone]) -> Evidence:
    """What clones, the surest first, come to."""
    found = np.zeros(shape, np.float32)
    for clone in clones:
        found[clone.both] = np.maximum(found[clone.both], min(clone.correlation, 1.0))
    if not clones:
        said = "No two regions that look alike share their noise."
        return Evidence("copy-move", 0.0, found, said, p_value=1.0)
    best = clones[0]
    top, left = np.argwhere(best.mask).min(axis=0)
    said = (
        f"{int(best.mask.sum()):,} pixels around row {top}, column {left} and those {words(best)} have the "
        f"same noise (correlation {best.correlation:.2f}; {TWINS} is what genuine likeness reaches): one is "
        "a copy of the other."
    )
    return Evidence("copy-move", min(best.correlation, 1.0), found, said, p_value=best.p_value)


def words(clone: AffineClone) -> str:
    """What was done to the copy: "120 rows and -3 columns away, turned by 10 degrees, ..."."""
    turn, (along, across) = clone.matrix[:, :2], np.argwhere(clone.mask).mean(axis=0)
    down, right = turn @ (along, across) + clone.matrix[:, 2] - (along, across)
    mirrored = np.linalg.det(turn) < 0
    upright = turn @ np.diag([1.0, -1.0 if mirrored else 1.0])
    degrees = math.degrees(math.atan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1]))
    scale = math.sqrt(abs(np.linalg.det(turn)))
    said = [f"{down:.0f} rows and {right:.0f} columns further"]
    if mirrored:
        said.append("mirrored")
    if abs(degrees) >= 1:
        said.append(f"turned by {degrees:.0f} degrees")
    if abs(scale - 1) >= 0.01:
        said.append(f"scaled by {scale:.2f}")
    return ", ".join(said)
