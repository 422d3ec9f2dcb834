"""Copy-move by key-points: corners and blobs that look alike wherever they are, however they are turned.

Amerini, Ballan, Caldelli, Del Bimbo, Del Tongo & Serra, "Copy-move forgery detection and localization by
means of robust clustering with J-Linkage", Signal Processing: Image Communication 28(6), 2013, after
Amerini, Ballan, Caldelli, Del Bimbo & Serra, "A SIFT-based forensic method for copy-move attack detection
and transformation recovery", IEEE TIFS 6(3), 2011. Key-points of a copy have the descriptors of those
they were copied from; matches that agree on one affine map are clustered, and the regions that map
shows to be alike are told.

Differs from the papers: as regions are small, clusters need 3 matches instead of 7, and a like may be up
to 0.8 times as far as the next instead of 0.5; the last such gap among the first likes tells them from
others, not the first, so that all of several copies are matched; mirrored copies are found too, as the
descriptor of a mirrored key-point is its descriptor in another order; the region is where windows of both
are alike around the matches, without a hull; and a map is believed only where the noise repeats
(`copies/affine_clone.py`), so that symmetric anatomy raises no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy.spatial import cKDTree

from intact.forensics.base import Evidence, Examiner
from intact.forensics.copies.affine_clone import AffineClone, confirm, words
from intact.forensics.copies.affine_map import mapped
from intact.forensics.copies.j_linkage import j_linkage
from intact.forensics.copies.same_noise import grainy
from intact.forensics.texture import comparable
from intact.image import Image

SMALLEST = 64  # pixels: side of an image with room for two regions
SHOWN = (0.5, 99.5)  # percentiles of the values between which key-points are looked for
CONTRAST = 0.005  # of a key-point, in SIFT's unit: low, for what is soft in medical images
EDGE = 20.0  # ratio of curvatures up to which an edge is a key-point
MOST = 2500  # key-points, the clearest
APART = 16.0  # pixels between a key-point and its like
LIKE = 0.85  # cosine between two descriptors, at least
RANKS = 4  # likes of a key-point that are looked through
MATCHES = 400  # the surest that are clustered
CLUSTERS = 6  # the largest that are looked into
ERROR = 3.0  # pixels by which matches of one map may miss
WINDOW = 7  # pixels: side of the windows that are compared
ALIKE = 0.55  # correlation of two windows that show the same
AROUND = 64  # pixels around the matches within which their region is told
OVERLAP = 0.1  # share of a region that may lie in its like
COPIED = 0.55  # correlation of noise above which it was copied: mirrored ribs of genuine images reach 0.48
SURE = 1e-6  # p-value below which a copy is believed: the same ribs reach 6e-5
# What is mirrored across a key-point's direction has its rows of cells, and its turns, in reverse.
MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, [0, 7, 6, 5, 4, 3, 2, 1]].ravel()

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Points = Float[ndarray, "n 2"]


class Matches(NamedTuple):
    """Row and column of key-points and of their likes."""

    here: Points
    there: Points


@dataclass(eq=False)
class Keypoints(Examiner):
    """Finds regions that were copied, also turned, scaled or mirrored, if they show something distinct.

    Args:
        ratio: Distance to a key-point's like, in that to the next like, below which the two match.
        least: Matches that have to agree on a map.
    """

    kind = "copy-move"
    source = "Amerini et al., Signal Processing: Image Communication 28(6), 2013"

    ratio: float = 0.8
    least: int = 3

    def _examine(self, plane: Field, valid: Mask, image: Image) -> Evidence:
        if min(plane.shape) < SMALLEST:
            return self._abstain(f"the image is smaller than {SMALLEST} pixels")
        valid = comparable(image)
        if not valid.any():
            return self._abstain("there is no noise to compare")
        places, descriptors = _key_points(_shown(plane, valid), valid)
        if len(places) < 2 * self.least:
            return self._abstain(f"there are only {len(places)} key-points")
        candidates = []
        for order in (np.arange(128), MIRRORED):
            matches = _matched(places, descriptors, descriptors[:, order], self.ratio)
            candidates += self._candidates(matches)
        clones = _confirmed(plane, valid, candidates)
        return self._told(plane, clones)

    def _candidates(self, matches: Matches) -> list[tuple[Points, Field]]:
        """Places of the matches that agree on a map, and the map; of the two ways only that down."""
        found = []
        for cluster in j_linkage(*matches):
            here, there = matches.here[cluster], matches.there[cluster]
            if len(cluster) < self.least or tuple(here.mean(axis=0)) > tuple(there.mean(axis=0)):
                continue
            matrix, fits = cv2.estimateAffine2D(here, there, ransacReprojThreshold=ERROR)
            # Matches in a row leave a map open.
            if matrix is not None and np.isfinite(matrix).all() and np.count_nonzero(fits) >= self.least:
                found.append((here[fits.ravel() > 0], matrix))
        return found[:CLUSTERS]

    def _told(self, plane: Field, clones: list[AffineClone]) -> Evidence:
        found = np.zeros(plane.shape, np.float32)
        for clone in clones:
            found[clone.both] = np.maximum(found[clone.both], clone.correlation)
        if not clones:
            return Evidence(self.kind, 0.0, found, "No two regions share their noise.", p_value=1.0)
        best = clones[0]
        top, left = np.argwhere(best.mask).min(axis=0)
        said = (
            f"{int(best.mask.sum()):,} pixels around row {top}, column {left} and those {words(best)} have "
            f"the same noise (correlation {best.correlation:.2f}; believed from {COPIED}): one is a copy of "
            "the other."
        )
        return Evidence(self.kind, best.correlation, found, said, p_value=best.p_value)


def _shown(plane: Field, valid: Mask) -> UInt8[ndarray, "h w"]:
    """The plane in 8 bits, for the detector alone."""
    low, high = np.percentile(plane[valid], SHOWN)
    return np.clip(np.rint((plane - low) * (255 / max(high - low, 1e-12))), 0, 255).astype(np.uint8)


def _key_points(shown: UInt8[ndarray, "h w"], valid: Mask) -> tuple[Points, Float[ndarray, "n 128"]]:
    """Row and column of the clearest key-points, and their descriptors, of length 1."""
    sift = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=CONTRAST, edgeThreshold=EDGE)
    found, descriptors = sift.detectAndCompute(shown, valid.astype(np.uint8))
    if not found:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    places = np.array([point.pt[::-1] for point in found])
    return places, descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)


def _matched(
    places: Points, descriptors: Float[ndarray, "n k"], others: Float[ndarray, "n k"], ratio: float
) -> Matches:
    """Matches by g2NN: all likes up to the last that is much nearer than the next; in both ways."""
    cosine = descriptors @ others.T
    beside = cKDTree(places).query_pairs(APART, output_type="ndarray")
    cosine[beside[:, 0], beside[:, 1]] = cosine[beside[:, 1], beside[:, 0]] = -1
    np.fill_diagonal(cosine, -1)
    promising = np.flatnonzero(cosine.max(axis=1) > LIKE)
    cosine = cosine[promising]
    some = np.argpartition(cosine, -RANKS - 1, axis=1)[:, -RANKS - 1 :]
    order = np.argsort(-np.take_along_axis(cosine, some, axis=1), axis=1)
    ranked = np.take_along_axis(some, order, axis=1)
    best = np.take_along_axis(cosine, ranked, axis=1)
    distance = np.sqrt(np.maximum(2 - 2 * best, 0))
    nearer = (distance[:, :-1] < ratio * distance[:, 1:]) & (best[:, :-1] > LIKE)
    matched = np.logical_or.accumulate(nearer[:, ::-1], axis=1)[:, ::-1]
    row, rank = np.nonzero(matched)
    surest = np.argsort(distance[row, rank], kind="stable")[: MATCHES // 2]
    one, other = promising[row[surest]], ranked[row[surest], rank[surest]]
    pairs = np.unique(np.concatenate([np.column_stack([one, other]), np.column_stack([other, one])]), axis=0)
    return Matches(places[pairs[:, 0]], places[pairs[:, 1]])


def _confirmed(plane: Field, valid: Mask, candidates: list[tuple[Points, Field]]) -> list[AffineClone]:
    """The candidates whose noise repeats, the surest first."""
    found = []
    image = grainy(plane, valid)
    for here, matrix in candidates:
        mask = _region(plane, valid, here, matrix)
        if np.count_nonzero(mask & mapped(mask, matrix)) > OVERLAP * np.count_nonzero(mask):
            continue
        clone = confirm(image, mask, matrix, len(candidates))
        if clone is not None and clone.p_value < SURE and clone.correlation > COPIED:
            found.append(clone)
    return sorted(found, key=lambda clone: clone.p_value)


def _region(plane: Field, valid: Mask, here: Points, matrix: Field) -> Mask:
    """Where windows are like those that a map takes them to, around some places."""
    start = np.maximum(here.min(axis=0).astype(int) - AROUND, 0)
    end = np.minimum(here.max(axis=0).astype(int) + AROUND, plane.shape)
    box = (slice(start[0], end[0]), slice(start[1], end[1]))
    local = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ start])
    swapped = np.ascontiguousarray(local[::-1][:, [1, 0, 2]])  # OpenCV counts columns first
    size = (int(end[1] - start[1]), int(end[0] - start[0]))
    brought = cv2.warpAffine(plane, swapped, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    alike = cv2.GaussianBlur(_likeness(plane[box], brought), (WINDOW, WINDOW), 0) > ALIKE
    whole = cv2.morphologyEx((alike & valid[box]).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(whole)
    rows, columns = (np.rint(here).astype(int) - start).T
    wanted = np.unique(labels[np.minimum(rows, size[1] - 1), np.minimum(columns, size[0] - 1)])
    region = np.isin(labels, wanted[wanted > 0]).astype(np.uint8)
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros(plane.shape, bool)
    mask[box] = cv2.drawContours(region, outlines, -1, 1, cv2.FILLED) > 0  # holes belong to it
    return mask


def _likeness(one: Field, other: Field) -> Field:
    """Correlation of the windows around each pixel of two planes."""
    one, other = (values.astype(np.float64) for values in (one, other))
    mean, mean_other, product, square, square_other = (
        cv2.blur(values, (WINDOW, WINDOW)) for values in (one, other, one * other, one * one, other * other)
    )
    power = (square - mean**2) * (square_other - mean_other**2)
    return (product - mean * mean_other) / np.sqrt(np.maximum(power, 1e-12))
