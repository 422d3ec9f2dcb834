"""Copy-move by matching discs that may have been turned: Zernike moments, their sizes and their phases.

Ryu, Lee & Lee, "Detection of copy-rotate-move forgery using Zernike moments", Information Hiding 2010, and
"Rotation invariant localization of duplicated image regions based on Zernike moments", IEEE TIFS 8(8),
2013. The sizes of a disc's moments do not change when it is turned, and their phases all tell by how
much: discs that are alike by chance do not agree on that.

Differs from the papers: discs are of 12 pixels instead of 24, as lesions are small; those most alike are
found as PatchMatch finds them (`copies/dense_field.py`) instead of by hashes; likeness is relative to
contrast; phases also tell mirrored copies; pairs are gathered by the map that each implies; and a map is
believed only where the noise repeats (`copies/affine_clone.py`), so that symmetric anatomy raises no alarm.
Large images are searched at a half or less of their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from numpy import ndarray
from scipy.spatial.distance import cdist

from intact.forensics.base import Evidence, Examiner
from intact.forensics.copies.affine_clone import confirm_all, told
from intact.forensics.copies.affine_map import Mask, fitted
from intact.forensics.copies.clone import MOST
from intact.forensics.copies.searched import Searched, searched
from intact.forensics.copies.zernike import ORDERS
from intact.image import Image

LIKE = 0.15  # distance of moments' sizes up to which discs are alike, of their root sum of squares
ANGLES = 72  # that phases are compared at, all around
AGREE = 0.9  # share of the moments that the best angle brings together
PAIRS = 8000  # the most alike, that are gathered
SEEDS = 150  # of them whose maps are tried
NEAR = (2.0, 0.1)  # pixels that a like may lie off the map of another pair, and so much per pixel between
FAR = 60.0  # pixels between pairs that are gathered, at most
VOTES = 20  # pairs that have to agree

Moments = Complex[ndarray, "n k"]


@dataclass(eq=False)
class BlockZernike(Examiner):
    """Finds regions that were copied, also if they were turned or mirrored.

    Args:
        diameter: Of the discs in pixels of the searched image.
        apart: Pixels of the searched image between a disc and its like, at least.
    """

    kind = "copy-move"
    routine = False
    source = "Ryu, Lee & Lee, IEEE TIFS 8(8), 2013"

    diameter: int = 12
    apart: float = 20.0

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        where = searched(image, self.diameter, self.apart)
        if isinstance(where, str):
            return self._abstain(where)
        pairs = _alike(where)
        turns, agreeing = turns_between(where.moments[pairs[:, 0]], where.moments[pairs[:, 1]])
        places = where.places
        here, there = (places[pairs[agreeing, end]].astype(np.float64) for end in (0, 1))
        regions = []
        for own, likes in _gathered(here, there, turns[agreeing]):
            mask: Mask = np.zeros(where.small.shape, bool)
            mask[tuple(own.astype(int).T)] = True
            mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
            regions.append(where.enlarged(mask, fitted(own, likes)))
        return told(plane.shape, confirm_all(where.grainy, regions))


def _alike(where: Searched) -> Int[ndarray, "m 2"]:
    """Pairs of discs that are alike, the most alike first."""
    gaps = where.sizes - where.sizes[where.likes]
    shares = np.square(gaps).sum(axis=1) / np.square(where.sizes).sum(axis=1)
    order = np.argsort(shares, kind="stable")[:PAIRS]
    order = order[shares[order] < LIKE**2]
    return np.column_stack([order, where.likes[order]])


def turns_between(one: Moments, other: Moments) -> tuple[Float[ndarray, "n 2 2"], Bool[ndarray, "n"]]:
    """How each disc was turned, or mirrored and turned, to be the other; and whether its phases agree.

    Args:
        one: Moments of the orders `ORDERS[1:]`.
        other: Of as many discs.

    Returns:
        Matrices that take (row, column) from the middle of one to that of the other.
    """
    repetitions = np.array([repetition for _, repetition in ORDERS[1:]])
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    unturn = np.exp(1j * repetitions[:, None] * angles)
    plain, mirrored = ((other * part @ unturn).real for part in (one.conj(), one))
    best = np.maximum(plain.max(axis=1), mirrored.max(axis=1))
    flip = np.where(mirrored.max(axis=1) > plain.max(axis=1), -1.0, 1.0)
    angle = angles[np.where(flip < 0, mirrored.argmax(axis=1), plain.argmax(axis=1))]
    c, s = np.cos(angle), np.sin(angle)
    turns = np.stack([flip * c, s, -flip * s, c], axis=1).reshape(-1, 2, 2)
    return turns, best >= AGREE * (np.abs(one) * np.abs(other)).sum(axis=1)


def _gathered(
    here: Float[ndarray, "m 2"], there: Float[ndarray, "m 2"], turns: Float[ndarray, "m 2 2"]
) -> list[tuple[Float[ndarray, "v 2"], Float[ndarray, "v 2"]]]:
    """Pairs that agree on one map: places and their likes, the most numerous first."""
    found: list[tuple[Float[ndarray, "v 2"], Float[ndarray, "v 2"]]] = []
    if len(here) < VOTES:
        return found
    seeds = np.unique(np.linspace(0, len(here) - 1, SEEDS).astype(int))
    agree = _agreeing(here, there, turns, seeds)
    while len(found) < MOST:
        best = agree[agree.sum(axis=1).argmax()].copy()
        if best.sum() < VOTES:
            break
        found.append((here[best], there[best]))
        agree[:, best] = False
    return found


def _agreeing(
    here: Float[ndarray, "m 2"],
    there: Float[ndarray, "m 2"],
    turns: Float[ndarray, "m 2 2"],
    seeds: Int[ndarray, "s"],
) -> Bool[ndarray, "s m"]:
    """Which pairs lie where the map of each of some of them says."""
    here, there, turns = (each.astype(np.float32) for each in (here, there, turns))
    moved = there[seeds] - np.einsum("sij,sj->si", turns[seeds], here[seeds])
    ends = np.column_stack([here, there, np.ones(len(here), np.float32)])
    off = np.zeros((len(seeds), len(here)), np.float32)
    for axis in (0, 1):
        # there - turn @ here - moved, of all pairs under the maps of all seeds
        aside = np.tile(np.eye(2, dtype=np.float32)[axis], (len(seeds), 1))
        taken = np.column_stack([-turns[seeds, axis], aside, -moved[:, axis]])
        off += np.square(taken @ ends.T)
    between = cdist(here[seeds], here).astype(np.float32)
    near = off < np.square(NEAR[0] + NEAR[1] * between)
    flat = turns.reshape(-1, 4)
    return near & (between < FAR) & (flat[seeds] @ flat.T > 2 * math.cos(math.radians(15)))
