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
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage, stats

from intact.forensics.clone import BESIDE, COPIED, FALLS_TO, NOISE, SEAM, TWINS
from intact.residual import LOUD

FINE = 0.8  # sigma of the blur whose difference to the image counts as noise, in pixels
QUIET = 7.0  # standard deviations of noise; where an image differs more from its blur, there is an edge
AROUND = 8  # pixels: how far away likeness is compared with what it is at the copy
SURE = 1e-3  # p-value above which nothing is said
APART = 10.0  # pixels between a pixel and its like, at least: nearer, noise is like itself
FEWEST = 40  # pixels of noise that can be compared
LARGEST = 3.0  # enlargement, and its inverse, up to which a map is believed
SKEW = 1.6  # ratio of the enlargements along two axes, at most
# Sigmas of the blurs under which a map is refined, one after another, in pixels; and what to try next.
BLURS = ((1.2, 0.0), (0.0,), (2.5, 1.2, 0.0))
STEPS = 12  # of refinement under each, at most
SETTLED = 0.02  # pixels; a step below which it ends
DAMPING = 0.1  # of its steps
MOST = 3000  # pixels that refinement looks at
MARGIN = 12  # pixels around a region within which it looks
TRIED = 600  # maps: three searches over six numbers to half a pixel, each looked at from both sides

_AWAY = np.arange(-AROUND, AROUND + 1)
_BESIDE = np.hypot(_AWAY[:, None], _AWAY) >= BESIDE - 0.1

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Map = Float[ndarray, "2 3"]
Box = tuple[slice, slice]


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
    if np.count_nonzero(inside) < FEWEST or not _plausible(matrix):
        return None
    fine = np.abs(plane - cv2.GaussianBlur(plane, (0, 0), FINE))[valid]
    sigma = 1.4826 * float(np.median(fine))
    if not sigma:
        return None
    for blurs in BLURS:
        exact = _refined(plane, inside, np.asarray(matrix, np.float64), blurs)
        if not _plausible(exact):
            continue
        other = mapped(inside, exact) & valid
        # What was resampled is smoother than what it came from, and nobody knows which is which.
        alike = max(_likeness(plane, inside, exact, sigma), _likeness(plane, other, inverse(exact), sigma))
        p_value = min(1.0, tests * TRIED * float(stats.norm.sf(alike.deviations)))
        if p_value <= SURE:
            return AffineClone(exact, inside, other, alike.correlation, p_value)
    return None


def mapped(mask: Mask, matrix: Map) -> Mask:
    """Where a map takes a region; what leaves the frame is lost."""
    height, width = mask.shape
    return (
        cv2.warpAffine(mask.astype(np.uint8), _swapped(matrix), (width, height), flags=cv2.INTER_NEAREST) > 0
    )


def inverse(matrix: Map) -> Map:
    """The map back."""
    back = np.linalg.inv(matrix[:, :2])
    return np.hstack([back, -back @ matrix[:, 2:]])


def fitted(places: Float[ndarray, "n 2"], likes: Float[ndarray, "n 2"]) -> Map:
    """The map that takes places to their likes with the least squared error."""
    known = np.column_stack([places, np.ones(len(places))])
    solution, *_ = np.linalg.lstsq(known, likes, rcond=None)
    return np.ascontiguousarray(solution.T)


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


def _plausible(matrix: Map) -> bool:
    """Whether a map is one that a forger could have used."""
    if not np.isfinite(matrix).all():
        return False
    largest, least = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(least > 1 / LARGEST and largest < LARGEST and largest < SKEW * least)


def _refined(plane: Field, inside: Mask, matrix: Map, blurs: tuple[float, ...]) -> Map:
    """The map nearby that makes a region most alike: first its shapes, then its noise.

    Lucas & Kanade, "An iterative image registration technique with an application to stereo vision",
    IJCAI 1981, for maps of six numbers, and copies that are brighter or of other contrast.
    """
    places = np.argwhere(cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0))
    here, there = _box(inside), _box(mapped(inside, matrix))
    if len(places) < FEWEST or here is None or there is None:
        return matrix
    corner = np.array([[part.start] for part in there])
    places = places[:: 1 + len(places) // MOST]
    middle, reach = places.mean(axis=0), places.std()
    around = np.column_stack([(places - middle) / reach, np.ones(len(places))])
    own = np.column_stack([matrix[:, :2] * reach, matrix[:, :2] @ middle + matrix[:, 2]])
    for blur in blurs:
        seen = _band(plane[here], blur)[places[:, 0] - here[0].start, places[:, 1] - here[1].start]
        like = _band(plane[there], blur)
        layers = (like, *np.gradient(like))
        for _ in range(STEPS):
            at = own @ around.T - corner
            value, down, right = (ndimage.map_coordinates(v, at, order=1, mode="nearest") for v in layers)
            # value + slope * (step of the map) = gain * seen + offset, for all places at once
            known = np.column_stack([down[:, None] * around, right[:, None] * around, -seen, -around[:, 2]])
            gram = known.T @ known
            gram[range(6), range(6)] += DAMPING * gram.diagonal()[:6].mean()
            step = np.linalg.lstsq(gram, -known.T @ value, rcond=None)[0][:6].reshape(2, 3)
            own += step
            if np.abs(step).max() < SETTLED:
                break
    turn = own[:, :2] / reach
    return np.column_stack([turn, own[:, 2] - turn @ middle])


def _band(plane: Field, blur: float) -> Field:
    """Structure between this size and some times more; with no blur, noise."""
    finer = cv2.GaussianBlur(plane, (0, 0), blur) if blur else plane
    return finer - cv2.GaussianBlur(plane, (0, 0), NOISE + 2 * blur)


def _likeness(plane: Field, region: Mask, way: Map, sigma: float) -> Likeness:
    """How alike the noise of a region and of its like are; nothing if they are so beside it too."""
    box = _box(region)
    if box is None:
        return NONE
    own, brought = plane[box], _brought(plane, box, way)
    # The blur brings what is outside a copy some pixels in.
    inner = cv2.erode(region.astype(np.uint8), np.ones((SEAM, SEAM), np.uint8), borderValue=0) > 0
    inner = (inner & _far(region.shape, way))[box]
    inner &= _quiet(own, sigma) & _quiet(brought, sigma)[AROUND:-AROUND, AROUND:-AROUND]
    if np.count_nonzero(inner) < FEWEST:
        return NONE
    one, two = _noise(own, sigma), _noise(brought, sigma)
    found = cv2.matchTemplate(two, one, cv2.TM_CCOEFF_NORMED, mask=inner.astype(np.float32))
    found = np.where(np.isfinite(found), found, 0.0)
    best = float(found[AROUND, AROUND])
    # An edge is like itself further along without having been copied, and so is what a grid left.
    away = found[_BESIDE]
    if best < COPIED or away.max() > FALLS_TO * best:
        return NONE
    return Likeness(best, (best - TWINS) / max(float(np.sqrt((away**2).mean())), 1e-6))


def _noise(plane: Field, sigma: float) -> Field:
    """The finest structure, in its noise's standard deviations, cut to what noise can be."""
    return np.clip((plane - cv2.GaussianBlur(plane, (0, 0), FINE)) / sigma, -LOUD, LOUD)


def _quiet(plane: Field, sigma: float) -> Mask:
    """Where there is no edge, nor beside."""
    loud = np.abs(plane - cv2.GaussianBlur(plane, (0, 0), NOISE)) > QUIET * sigma
    return cv2.dilate(loud.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0


def _brought(plane: Field, box: Box, way: Map) -> Field:
    """What a map takes a box to, in the box's own frame and some pixels around it."""
    rows, columns = (part.stop - part.start + 2 * AROUND for part in box)
    corner = np.array([part.start - AROUND for part in box], np.float64)
    local = np.column_stack([way[:, :2], way[:, 2] + way[:, :2] @ corner])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        plane, _swapped(local), (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _far(shape: tuple[int, ...], way: Map) -> Mask:
    """Pixels that are not beside their likes."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    (a, b, c), (d, e, f) = way
    down, right = (a - 1) * rows + (b * columns + c), d * rows + ((e - 1) * columns + f)
    return down * down + right * right >= APART**2


def _box(mask: Mask) -> Box | None:
    """The part of the frame that holds a region, and some pixels around it."""
    found: list[slice] = []
    for axis, n in enumerate(mask.shape):
        at = np.flatnonzero(mask.any(axis=1 - axis))
        if not at.size:
            return None
        found.append(slice(max(int(at[0]) - MARGIN, 0), min(int(at[-1]) + MARGIN + 1, n)))
    return found[0], found[1]


def _between(matrix: Map, here: Box, there: Box, *, back: bool = False) -> Map:
    """A map from one box's own rows and columns to another's; or, back, such a map in those of the frame."""
    sign = -1.0 if back else 1.0
    first, second = (sign * np.array([part.start for part in box], np.float64) for box in (here, there))
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ first - second])


def _swapped(matrix: Map) -> Map:
    """The same map for (column, row), as OpenCV counts; and back."""
    return np.ascontiguousarray(matrix[::-1][:, [1, 0, 2]])
