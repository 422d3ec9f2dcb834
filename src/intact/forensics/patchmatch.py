"""Copy-move by a dense field: every pixel's most similar one elsewhere, and where that field is linear.

Cozzolino, Poggi & Verdoliva, "Efficient dense-field copy-move forgery detection", IEEE TIFS 10(11), 2015.
What surrounds a pixel is described by Zernike magnitudes, which turning and mirroring leave alone.
PatchMatch finds for every pixel the one elsewhere with the nearest description. Chance gives offsets
without order; those of a copy are a linear function of the place, whatever was done to it.

Differs from the paper: the search begins with the leaves of a tree of projections instead of chance
(Olonetsky & Avidan, "TreeCANN", ECCV 2012), so that two rounds do for eight, and all pixels take
their neighbours' offsets at once; brightness itself is not compared, and the magnitudes have the same
noise each; discs are also compared with somewhat larger ones, for scaled copies; large images are
searched at a half or less of their size; and instead of asking that a region's like be one too, it is
believed only where the noise repeats under the map that was fitted to it (`copies/affine_clone.py`), so that
symmetric anatomy raises no alarm. Distances and areas are smaller, for small lesions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage

from intact.forensics.base import Evidence, Examiner
from intact.forensics.copies.affine_clone import confirm_all, told
from intact.forensics.copies.affine_map import Map, Mask, fitted
from intact.forensics.copies.dense_field import Places, fit_error, nearest
from intact.forensics.copies.searched import Searched, searched
from intact.forensics.copies.zernike import moments
from intact.image import Image

MEDIAN = 5  # side of the median filter on offsets, in pixels
FIT_RADIUS = 2  # of the disc in which offsets are fitted, in pixels
FIT = 300 / 113  # mean square error up to which they are linear, in pixels squared (the authors' 300 in all)
REFITS = 3  # times that likes far from a region's map are left out, and it is fitted again
CLOSE = 2.0  # pixels between a like and where the map of its region takes it
AREA = 32  # pixels of the searched image in a region, at least
AREA_MM = 2.0  # radius of the smallest region in mm, where the size of pixels is known


@dataclass(eq=False)
class PatchMatch(Examiner):
    """Finds regions that were copied, also if they were turned, mirrored or scaled by some 20 %.

    Args:
        diameter: Of the discs that are compared, in pixels of the searched image.
        apart: Pixels of the searched image between a place and its like, at least.
        scales: How much larger the discs are that discs are compared with, for scaled copies; the
            smaller of two regions is compared with the larger, so 1 and more will do.
    """

    kind = "copy-move"
    source = "Cozzolino, Poggi & Verdoliva, IEEE TIFS 10(11), 2015"

    diameter: int = 12
    apart: float = 20.0
    scales: tuple[float, ...] = (1.0, 1.2)

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        where = searched(image, self.diameter, self.apart)
        if isinstance(where, str):
            return self._abstain(where)
        found = []
        for scale in self.scales:
            likes = self._likes(where, round(self.diameter * scale))
            found += linear_regions(where.places, likes, where.small.shape, self._area(image, where.times))
        found.sort(key=lambda region: -int(region[0].sum()))
        whole = (where.enlarged(mask, matrix) for mask, matrix in found)
        return told(plane.shape, confirm_all(where.grainy, whole))

    def _likes(self, where: Searched, diameter: int) -> Int[ndarray, "n"]:
        """For every place the number of its like, whose disc has this diameter."""
        if diameter == where.diameter:
            return where.likes
        larger = np.abs(moments(where.small, diameter, where.chosen))
        return nearest(where.sizes, larger, where.places, self.apart)

    def _area(self, image: Image, times: int) -> int:
        if image.spacing is None:
            return AREA
        pixel = image.spacing[-1] * image.spacing[-2] * times**2
        return max(AREA, round(math.pi * AREA_MM**2 / pixel))


def linear_regions(
    places: Places, likes: Int[ndarray, "n"], shape: tuple[int, ...], area: int
) -> list[tuple[Mask, Map]]:
    """Where likes are a linear function of the place: regions, each with the map to its like.

    Args:
        places: Row and column.
        likes: For each place the number of another.
        shape: Of the plane.
        area: Pixels in a region, at least.
    """
    offsets = np.zeros((2, *shape), np.float32)
    offsets[:, places[:, 0], places[:, 1]] = (places[likes] - places).T
    offsets = np.stack([cv2.medianBlur(one, MEDIAN) for one in offsets])
    linear = np.zeros(shape, bool)
    linear[tuple(places.T)] = True
    most = FIT * math.pi * FIT_RADIUS**2
    linear &= fit_error(offsets[0], FIT_RADIUS) + fit_error(offsets[1], FIT_RADIUS) <= most
    labels, _ = ndimage.label(linear)
    boxes = ndimage.find_objects(labels)
    found = []
    for number in np.flatnonzero(np.bincount(labels.ravel())[1:] >= area):
        rows, columns = boxes[number]
        own = np.argwhere(labels[rows, columns] == number + 1) + np.array([rows.start, columns.start])
        kept, matrix = _mapped_together(own, own + offsets[:, own[:, 0], own[:, 1]].T)
        if len(kept) >= area:
            mask = np.zeros(shape, bool)
            mask[tuple(kept.T)] = True
            found.append((mask, matrix))
    return found


def _mapped_together(own: Places, theirs: Float[ndarray, "n 2"]) -> tuple[Places, Map]:
    """Those places that one map takes to their likes, and the map."""
    matrix = fitted(own, theirs)
    for _ in range(REFITS):
        close = np.hypot(*(own @ matrix[:, :2].T + matrix[:, 2] - theirs).T) <= CLOSE
        if np.count_nonzero(close) < 3:
            return own[:0], matrix
        matrix = fitted(own[close], theirs[close])
    return own[close], matrix
