"""Whether the noise of a region repeats where a map takes it, everywhere in it and nowhere near it.

Noise is what differs from a slight blur. Resampling smooths it, so the other region is first brought
into the frame of this one. Only quiet places are compared: the edges of ribs, or of a scanner's table,
are alike in genuine twins too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from intact.forensics.copies.affine_map import Box, Field, Map, Mask, box_of, opencv
from intact.forensics.copies.clone import BESIDE, CALM, COPIED, FALLS_TO, NOISE, SHARED, TWINS
from intact.forensics.texture import SEAM
from intact.residual import LOUD, correlation

FINE = 0.8  # sigma of the blur whose difference to the image counts as noise, in pixels
QUIET = 7.0  # standard deviations of noise; where an image differs more from its blur, there is an edge
BY = 3  # side of the square that is left out around each such pixel
PILE = 2.0  # standard deviations of noise: how far from the end of the range values count as clipped
PART = 4.0  # sigma of the surroundings in which noise is also compared, in pixels
MIRRORED = 0.7  # correlation of the weakest noise, if mirrored: two sides of a body reach 0.62, copies 0.84
EVERYWHERE = 0.3  # correlation in three quarters of them, at least
AROUND = 8  # pixels: how far away likeness is compared with what it is at the copy
APART = 10.0  # pixels between a pixel and its like, at least: nearer, noise is like itself
FEWEST = 40  # pixels of noise that can be compared
BEGUN = 0.8  # sigma of the blur under which a map is looked for, before it is refined, in pixels
TURNS = (-4, -2, 0, 2, 4)  # degrees that are tried then
SHIFTS = np.argwhere(np.ones((9, 9))) - 4  # pixels that are tried with each: rows and columns
SAMPLE = 800  # pixels that are looked at, at most

_AWAY = np.arange(-AROUND, AROUND + 1)
_BESIDE = np.hypot(_AWAY[:, None], _AWAY) >= BESIDE - 0.1


class Likeness(NamedTuple):
    """Of the noise of two regions: its correlation, and the deviations by which that exceeds twins'."""

    correlation: float
    deviations: float


NONE = Likeness(0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Grainy:
    """An image whose noise is compared.

    Args:
        plane: float32; finite everywhere.
        valid: Where there is anything to compare.
        sigma: Standard deviation of the noise, in the image's unit; 0 where most of it is flat.
        usable: Where there is noise.
    """

    plane: Field
    valid: Mask
    sigma: float
    usable: Mask


def grainy(plane: Field, valid: Mask) -> Grainy:
    """The image with what its noise is like."""
    sigma = 1.4826 * float(np.median(np.abs(_fine(plane, FINE)[valid]))) if valid.any() else 0.0
    usable = valid & ~_clipped(plane, valid, sigma) if sigma else np.zeros_like(valid)
    return Grainy(plane, valid, sigma, usable)


def _clipped(plane: Field, valid: Mask, sigma: float) -> Mask:
    """What is piled up at the highest or lowest value: saturated, with ripples of compression, not noise."""
    piled = np.zeros_like(valid)
    for rail in (plane[valid].max(), plane[valid].min()):
        off = np.abs(plane - rail)
        at, next_to = off <= PILE * sigma, (off > PILE * sigma) & (off <= 2 * PILE * sigma)
        if np.count_nonzero(at & valid) > np.count_nonzero(next_to & valid):
            piled |= at
    return piled


def begun(plane: Field, region: Mask, matrix: Map) -> Map:
    """A map that is off by less than a pixel: the best of all shifts nearby, of some turns."""
    box = box_of(region)
    if box is None:
        return matrix
    own = cv2.GaussianBlur(_fine(plane[box], NOISE), (0, 0), BEGUN)
    inside = np.argwhere(region[box])
    middle = inside.mean(axis=0) + [part.start for part in box]
    places = inside[:: 1 + len(inside) // SAMPLE]
    seen = own[tuple(places.T)]
    best, found_map = -1.0, matrix
    for degrees in TURNS:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.array([[c, -s], [s, c]])
        here = np.column_stack([turn, middle - turn @ middle])
        way = np.column_stack([matrix[:, :2] @ turn, matrix[:, :2] @ here[:, 2] + matrix[:, 2]])
        brought = cv2.GaussianBlur(_fine(_brought(plane, box, way), NOISE), (0, 0), BEGUN)
        found = _at_shifts(brought, places + AROUND, seen)
        if found.max() > best:
            best = float(found.max())
            shift = SHIFTS[found.argmax()]
            found_map = np.column_stack([way[:, :2], way[:, 2] + way[:, :2] @ shift])
    return found_map


def _at_shifts(there: Field, places: Int[ndarray, "n 2"], seen: Float[ndarray, "n"]) -> Float[ndarray, "s"]:
    """Correlation of what was seen with what lies at each of `SHIFTS` from some places."""
    width = there.shape[1]
    values = there.ravel()[(SHIFTS @ (width, 1))[:, None] + places @ (width, 1)]
    values -= values.mean(axis=1, keepdims=True)
    power = np.einsum("sn,sn->s", values, values) * np.square(seen - seen.mean()).sum()
    return values @ (seen - seen.mean()) / np.sqrt(np.maximum(power, 1e-12))


def likeness(image: Grainy, region: Mask, way: Map) -> Likeness:
    """How alike the noise of a region and of its like are; nothing if they are so beside it too."""
    sigma = image.sigma
    box = box_of(region)
    if box is None:
        return NONE
    own, brought = image.plane[box], _brought(image.plane, box, way)
    # The blur brings what is outside a copy some pixels in.
    inner = cv2.erode(region[box].astype(np.uint8), np.ones((SEAM, SEAM), np.uint8), borderValue=0) > 0
    inner &= image.usable[box] & _far(box, way)
    inner &= _quiet(own, sigma) & _quiet(brought, sigma)[AROUND:-AROUND, AROUND:-AROUND]
    if np.count_nonzero(inner) < FEWEST:
        return NONE
    noise, brought_noise = _noise(own, sigma), _noise(brought, sigma)
    there = brought_noise[AROUND:-AROUND, AROUND:-AROUND]
    best = correlation(noise[inner], there[inner])
    if best < COPIED or not _everywhere(noise, there, inner, best, mirrored=np.linalg.det(way[:, :2]) < 0):
        return NONE
    # An edge is like itself further along without having been copied, and so is what a grid left.
    away = _correlations(brought_noise, noise, inner)[_BESIDE]
    if away.max() > FALLS_TO * best:
        return NONE
    return Likeness(best, (best - TWINS) / max(float(np.sqrt((away**2).mean())), 1e-6))


def _everywhere(one: Field, other: Field, inside: Mask, whole: float, *, mirrored: bool) -> bool:
    """Whether noise is alike in all parts, and where it is weakest; what edges leave is so in places."""
    strongest = np.maximum(np.abs(one), np.abs(other))
    calm = inside & (strongest < CALM * np.median(np.abs(one[inside])))
    if correlation(one[calm], other[calm]) < (MIRRORED if mirrored else SHARED * whole):
        return False
    return _in_parts(one, other, inside) >= EVERYWHERE


def _in_parts(one: Field, other: Field, inside: Mask) -> float:
    """The correlation that three quarters of a region's surroundings, each for itself, reach."""

    def around(product: Field) -> Field:
        return cv2.GaussianBlur(np.where(inside, product, 0.0).astype(np.float32), (0, 0), PART)

    power = np.sqrt(np.maximum(around(one * one) * around(other * other), 1e-12))
    return float(np.percentile((around(one * other) / power)[inside], 25))


def _correlations(there: Field, here: Field, inside: Mask) -> Field:
    """Of a region with what lies at every shift: the one that is 0 stands in the middle."""
    found = cv2.matchTemplate(there, here, cv2.TM_CCOEFF_NORMED, mask=inside.astype(np.float32))
    return np.where(np.isfinite(found), found, 0.0)


def _fine(plane: Field, blur: float) -> Field:
    return plane - cv2.GaussianBlur(plane, (0, 0), blur)


def _noise(plane: Field, sigma: float) -> Field:
    """The finest structure, in its noise's standard deviations, cut to what noise can be."""
    return np.clip(_fine(plane, FINE) / sigma, -LOUD, LOUD)


def _quiet(plane: Field, sigma: float) -> Mask:
    """Where there is no edge, nor beside."""
    loud = (np.abs(_fine(plane, NOISE)) > QUIET * sigma).astype(np.uint8)
    return cv2.dilate(loud, np.ones((BY, BY), np.uint8)) == 0


def _brought(plane: Field, box: Box, way: Map) -> Field:
    """What a map takes a box to, in the box's own frame and some pixels around it."""
    rows, columns = (part.stop - part.start + 2 * AROUND for part in box)
    corner = np.array([part.start - AROUND for part in box], np.float64)
    local = np.column_stack([way[:, :2], way[:, 2] + way[:, :2] @ corner])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, opencv(local), (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _far(box: Box, way: Map) -> Mask:
    """Pixels that are not beside their likes."""
    rows, columns = np.ogrid[box]
    (a, b, c), (d, e, f) = way
    down, right = (a - 1) * rows + (b * columns + c), d * rows + ((e - 1) * columns + f)
    return down * down + right * right >= APART**2
