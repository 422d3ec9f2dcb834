"""Copies that were turned, scaled or mirrored: the map between two regions, and whether the noise repeats.

The twin of `clone.py`, where copies were only moved. A map is first made exact: to half a pixel, as
noise one pixel off is no longer alike. Resampling smooths noise, so what was copied from is put through
the same resampling before the two are compared, once for each of the two directions. Only quiet places
are compared: the edges of ribs, or of a scanner's table, are alike in genuine twins too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from scipy import stats

from intact.forensics.affine_map import (
    Box,
    Field,
    Map,
    Mask,
    box_of,
    inverse,
    mapped,
    opencv,
    plausible,
    refined,
)
from intact.forensics.base import Evidence
from intact.forensics.clone import BESIDE, COPIED, FALLS_TO, MOST, NOISE, SEAM, TWINS
from intact.residual import LOUD

FINE = 0.8  # sigma of the blur whose difference to the image counts as noise, in pixels
QUIET = 7.0  # standard deviations of noise; where an image differs more from its blur, there is an edge
BY = 3  # side of the square that is left out around each such pixel
PILE = 2.0  # standard deviations of noise: how far from the end of the range values count as clipped
PART = 4.0  # sigma of the surroundings in which noise is also compared, in pixels
EVERYWHERE = 0.3  # correlation in three quarters of them, at least
AROUND = 8  # pixels: how far away likeness is compared with what it is at the copy
SURE = 1e-3  # p-value above which nothing is said
APART = 10.0  # pixels between a pixel and its like, at least: nearer, noise is like itself
FEWEST = 40  # pixels of noise that can be compared
# Sigmas of the blurs under which a map is refined, one after another, in pixels; and what to try next.
BLURS = ((0.0,), (1.2, 0.0))
BEGUN = 0.8  # sigma of the blur under which a map is looked for, before it is refined, in pixels
TURNS = (-4, -2, 0, 2, 4)  # degrees that are tried then
SHIFTS = slice(AROUND - 4, AROUND + 5)  # and pixels
TRIED = 1500  # maps: all of these, and two searches over six numbers, each looked at from both sides

_AWAY = np.arange(-AROUND, AROUND + 1)
_BESIDE = np.hypot(_AWAY[:, None], _AWAY) >= BESIDE - 0.1


class Likeness(NamedTuple):
    """Of the noise of two regions: its correlation, and the deviations by which that exceeds twins'."""

    correlation: float
    deviations: float


NONE = Likeness(0.0, 0.0)


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


def confirm(plane: Field, valid: Mask, mask: Mask, matrix: Map, tests: int) -> AffineClone | None:
    """The clone, if the noise of a region repeats where a map takes it, and nowhere near that.

    Args:
        plane: float32, the image; finite everywhere.
        valid: Where there is anything to compare.
        mask: The region.
        matrix: From (row, column, 1) of its pixels to (row, column) of their likes, to some 2 pixels and
            3 degrees. It is made exact.
        tests: How many pairs of regions are asked about, in all.

    Returns:
        None where the noise does not repeat, or where there is too little of it.
    """
    inside = mask & valid
    if np.count_nonzero(inside) < FEWEST or not plausible(matrix):
        return None
    sigma = 1.4826 * float(np.median(np.abs(_fine(plane, FINE)[valid])))
    if not sigma:
        return None
    usable = valid & ~_clipped(plane, valid, sigma)
    begun = _begun(plane, inside, np.asarray(matrix, np.float64))
    for blurs in BLURS:
        exact = refined(plane, inside, begun, blurs)
        if not plausible(exact):
            continue
        other = mapped(inside, exact) & valid
        # What was resampled is smoother than what it came from, and nobody knows which is which.
        ways = ((inside, exact), (other, inverse(exact)))
        alike = max(_likeness(plane, usable, region, way, sigma) for region, way in ways)
        p_value = min(1.0, tests * TRIED * float(stats.norm.sf(alike.deviations)))
        if p_value <= SURE:
            return AffineClone(exact, inside, other, alike.correlation, p_value)
    return None


def confirm_all(plane: Field, valid: Mask, regions: list[tuple[Mask, Map]]) -> list[AffineClone]:
    """Of regions and their maps those that `confirm` believes, the surest first.

    Args:
        plane: float32, the image; finite everywhere.
        valid: Where there is anything to compare.
        regions: The likeliest first; no more than so many are asked about.
    """
    asked = np.zeros(plane.shape, bool)
    fresh = []
    for mask, matrix in regions:
        # The other way round it is the same question.
        if np.count_nonzero(mask & asked) <= np.count_nonzero(mask) / 2 and plausible(matrix):
            fresh.append((mask, matrix))
            asked |= mapped(mask, matrix)
    fresh = fresh[:MOST]
    found = [confirm(plane, valid, mask, matrix, tests=len(fresh)) for mask, matrix in fresh]
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


def _begun(plane: Field, region: Mask, matrix: Map) -> Map:
    """A map that is off by less than a pixel: the best of all shifts nearby, of some turns."""
    box = box_of(region)
    if box is None:
        return matrix
    own, middle = cv2.GaussianBlur(_fine(plane[box], NOISE), (0, 0), BEGUN), np.argwhere(region).mean(axis=0)
    best, begun = -1.0, matrix
    for degrees in TURNS:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.array([[c, -s], [s, c]])
        here = np.column_stack([turn, middle - turn @ middle])
        way = np.column_stack([matrix[:, :2] @ turn, matrix[:, :2] @ here[:, 2] + matrix[:, 2]])
        brought = cv2.GaussianBlur(_fine(_brought(plane, box, way), NOISE), (0, 0), BEGUN)
        found = _correlations(brought, own, region[box])[SHIFTS, SHIFTS]
        if found.max() > best:
            best = float(found.max())
            down, right = np.subtract(np.unravel_index(int(found.argmax()), found.shape), found.shape[0] // 2)
            begun = np.column_stack([way[:, :2], way[:, 2] + way[:, :2] @ (down, right)])
    return begun


def _correlations(there: Field, here: Field, inside: Mask) -> Field:
    """Of a region with what lies at every shift: the one that is 0 stands in the middle."""
    found = cv2.matchTemplate(there, here, cv2.TM_CCOEFF_NORMED, mask=inside.astype(np.float32))
    return np.where(np.isfinite(found), found, 0.0)


def _likeness(plane: Field, usable: Mask, region: Mask, way: Map, sigma: float) -> Likeness:
    """How alike the noise of a region and of its like are; nothing if they are so beside it too."""
    box = box_of(region)
    if box is None:
        return NONE
    own, brought = plane[box], _brought(plane, box, way)
    # The blur brings what is outside a copy some pixels in.
    inner = cv2.erode(region.astype(np.uint8), np.ones((SEAM, SEAM), np.uint8), borderValue=0) > 0
    inner = (inner & usable & _far(region.shape, way))[box]
    inner &= _quiet(own, sigma) & _quiet(brought, sigma)[AROUND:-AROUND, AROUND:-AROUND]
    if np.count_nonzero(inner) < FEWEST:
        return NONE
    noise, brought_noise = _noise(own, sigma), _noise(brought, sigma)
    found = _correlations(brought_noise, noise, inner)
    best = float(found[AROUND, AROUND])
    # An edge is like itself further along without having been copied, and so is what a grid left.
    away = found[_BESIDE]
    if best < COPIED or away.max() > FALLS_TO * best:
        return NONE
    # What is left of edges is alike there, and nowhere else.
    if _in_parts(noise, brought_noise[AROUND:-AROUND, AROUND:-AROUND], inner) < EVERYWHERE:
        return NONE
    return Likeness(best, (best - TWINS) / max(float(np.sqrt((away**2).mean())), 1e-6))


def _in_parts(one: Field, other: Field, inside: Mask) -> float:
    """The correlation that three quarters of a region's surroundings, each for itself, reach."""

    def around(product: Field) -> Field:
        return cv2.GaussianBlur(np.where(inside, product, 0.0).astype(np.float32), (0, 0), PART)

    power = np.sqrt(np.maximum(around(one * one) * around(other * other), 1e-12))
    return float(np.percentile((around(one * other) / power)[inside], 25))


def _fine(plane: Field, blur: float) -> Field:
    return plane - cv2.GaussianBlur(plane, (0, 0), blur)


def _noise(plane: Field, sigma: float) -> Field:
    """The finest structure, in its noise's standard deviations, cut to what noise can be."""
    return np.clip(_fine(plane, FINE) / sigma, -LOUD, LOUD)


def _quiet(plane: Field, sigma: float) -> Mask:
    """Where there is no edge, nor beside."""
    loud = (np.abs(_fine(plane, NOISE)) > QUIET * sigma).astype(np.uint8)
    return cv2.dilate(loud, np.ones((BY, BY), np.uint8)) == 0


def _clipped(plane: Field, valid: Mask, sigma: float) -> Mask:
    """What is piled up at the highest or lowest value: saturated, with ripples of compression, not noise."""
    clipped = np.zeros_like(valid)
    for rail in (plane[valid].max(), plane[valid].min()):
        off = np.abs(plane - rail)
        at, next_to = off <= PILE * sigma, (off > PILE * sigma) & (off <= 2 * PILE * sigma)
        if np.count_nonzero(at & valid) > np.count_nonzero(next_to & valid):
            clipped |= at
    return clipped


def _brought(plane: Field, box: Box, way: Map) -> Field:
    """What a map takes a box to, in the box's own frame and some pixels around it."""
    rows, columns = (part.stop - part.start + 2 * AROUND for part in box)
    corner = np.array([part.start - AROUND for part in box], np.float64)
    local = np.column_stack([way[:, :2], way[:, 2] + way[:, :2] @ corner])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, opencv(local), (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _far(shape: tuple[int, ...], way: Map) -> Mask:
    """Pixels that are not beside their likes."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    (a, b, c), (d, e, f) = way
    down, right = (a - 1) * rows + (b * columns + c), d * rows + ((e - 1) * columns + f)
    return down * down + right * right >= APART**2
