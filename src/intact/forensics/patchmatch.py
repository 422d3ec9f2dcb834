"""Copy-move by a dense field: every pixel's most similar one elsewhere, and where that field is linear.

Cozzolino, Poggi & Verdoliva, "Efficient dense-field copy-move forgery detection", IEEE TIFS 10(11), 2015.
What surrounds a pixel is described by Zernike magnitudes, which turning and mirroring leave alone.
PatchMatch finds for every pixel the one elsewhere with the nearest description. Chance gives offsets
without order; those of a copy are a linear function of the place, whatever was done to it.

Differs from the paper: the search begins with the leaves of a tree of projections instead of chance
(Olonetsky & Avidan, "TreeCANN", ECCV 2012), so that two rounds do for eight, and all pixels take
their neighbours' offsets at once; brightness itself is not compared; magnitudes are in units of their
noise; large images are searched at a half or less of their size; and a region is believed only where
the noise repeats under the map that was fitted to it (`affine_clone.py`), so that symmetric anatomy
raises no alarm. Distances and areas are smaller, for small lesions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage

from intact.forensics.affine_clone import AffineClone, confirm, fitted, mapped, words
from intact.forensics.base import Evidence, Examiner
from intact.forensics.clone import MOST, enough_texture, not_flat
from intact.forensics.zernike import ORDERS, zernike
from intact.image import Image
from intact.residual import noise_sigma

PIXELS = 300 * 300  # that are searched; images with more are made smaller by a whole number
SMALLEST = 4  # by at most this number
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
FEWEST = 200  # places with more than noise
LEAF = 32  # places in a leaf of the tree, which are all compared
DIRECTIONS = 6  # along which features differ most, that the tree splits by
ROUNDS = 2  # of propagation and random search
REACH = (4, 1)  # pixels: how far random search reaches, one time after the other
MEDIAN = 5  # side of the median filter on offsets, in pixels
FIT_RADIUS = 4  # of the disc in which offsets are fitted, in pixels
FIT = 300 / 113  # mean square error up to which they are linear, in pixels squared (the authors' 300 in all)
REFITS = 3
CLOSE = 2.0  # pixels between a like and where the map of its region takes it
AREA = 64  # pixels of the searched image in a region, at least
AREA_MM = 2.0  # radius of the smallest region in mm, where the size of pixels is known

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Places = Int[ndarray, "n 2"]
Features = Float[ndarray, "n k"]


@dataclass(eq=False)
class PatchMatch(Examiner):
    """Finds regions that were copied, also if they were turned, mirrored or somewhat scaled.

    Args:
        diameter: Of the discs that are compared, in pixels of the searched image.
        apart: Pixels of the searched image between a place and its like, at least.
    """

    kind = "copy-move"
    source = "Cozzolino, Poggi & Verdoliva, IEEE TIFS 10(11), 2015"

    diameter: int = 12
    apart: float = 20.0
    scales: tuple[float, ...] = (1.0, 1.2)

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < 4 * self.diameter:
            return self._abstain(f"the image is smaller than {4 * self.diameter} pixels")
        if not valid.any():
            return self._abstain("nothing was measured")
        plane = np.where(valid, plane - np.median(plane[valid]), 0).astype(np.float32)
        valid = valid & not_flat(plane)
        sigma = noise_sigma(plane, valid)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        times = min(math.ceil(math.sqrt(plane.size / PIXELS)), SMALLEST)
        small = _smaller(plane, times)
        seen = _smaller(valid.astype(np.float32), times) > 0.5
        chosen = enough_texture(small, seen, self.diameter, noise_sigma(small, seen))
        places = np.argwhere(chosen)
        if len(places) < FEWEST:
            return self._abstain("there are hardly any places with more than noise")
        features = describe(small, self.diameter)[chosen]
        regions: list[Region] = []
        for scale in self.scales:
            larger = round(self.diameter * scale)
            likes = features if larger == self.diameter else describe(small, larger)[chosen]
            found = nearest(features, likes, places, self.apart)
            regions += linear_regions(places, found, small.shape, self._area(image, times))
        return self._told(plane, _confirmed(plane, valid, regions, times, self.diameter))

    def _area(self, image: Image, times: int) -> int:
        if image.spacing is None:
            return AREA
        pixel = image.spacing[-1] * image.spacing[-2] * times**2
        return max(AREA, round(math.pi * AREA_MM**2 / pixel))

    def _told(self, plane: Field, clones: list[AffineClone]) -> Evidence:
        found = np.zeros(plane.shape, np.float32)
        for clone in clones:
            found[clone.both] = np.maximum(found[clone.both], clone.correlation)
        if not clones:
            said = "No two regions that look alike share their noise."
            return Evidence(self.kind, 0.0, found, said, p_value=1.0)
        best = clones[0]
        top, left = np.argwhere(best.mask).min(axis=0)
        said = (
            f"{int(best.mask.sum()):,} pixels around row {top}, column {left} and those {words(best)} have "
            f"the same noise (correlation {best.correlation:.2f}): one is a copy of the other."
        )
        return Evidence(self.kind, min(best.correlation, 1.0), found, said, p_value=best.p_value)


def describe(plane: Field, diameter: int) -> Float[ndarray, "h w k"]:
    """Zernike magnitudes of the disc around every pixel, alike in noise."""
    real, imag = zernike(plane, diameter, ORDERS[1:])
    norms = np.sqrt([order + 1 for order, _ in ORDERS[1:]]).astype(np.float32)
    return np.moveaxis(np.hypot(real, imag) / norms[:, None, None], 0, -1)


def nearest(
    features: Features, likes: Features, places: Places, apart: float, seed: int = 0
) -> Int[ndarray, "n"]:
    """For every place the number of the one that looks most like it, so far apart at least.

    Args:
        features: float32, of the places.
        likes: float32, of the places as likes: the same, or those of larger discs, for scaled copies.
        places: Row and column.
        apart: In pixels.
        seed: Of chance.
    """
    rng = np.random.default_rng(seed)
    _, axes = np.linalg.eigh(np.cov(features.T))
    axes = np.ascontiguousarray(axes[:, ::-1], np.float32)
    alone = features is likes
    features = features @ axes
    likes = features if alone else likes @ axes
    # A frame of one pixel around the places, so that each has neighbours and a single number.
    width = int(places[:, 1].max()) + 3
    rows, columns = (places.T + 1).astype(np.int32)
    flat = rows * width + columns
    numbers = np.full((int(rows.max()) + 2) * width, -1, np.int32)
    numbers[flat] = np.arange(len(places))
    found, costs = _leaves(features, likes, places, apart, rng)

    def improve(ours: Int[ndarray, "m"], wanted: Int[ndarray, "m"]) -> None:
        """Take what lies where it is wanted, if it is more alike; what leaves the frame is no matter."""
        theirs = np.take(numbers, wanted, mode="clip")
        down, right = rows[theirs] - rows[ours], columns[theirs] - columns[ours]
        new = (theirs >= 0) & (theirs != found[ours]) & (down * down + right * right >= apart**2)
        ours, theirs = ours[new], theirs[new]
        gap = features[ours]
        gap -= likes[theirs]
        cost = np.einsum("nk,nk->n", gap, gap)
        better = cost < costs[ours]
        found[ours[better]], costs[ours[better]] = theirs[better], cost[better]

    steps = (1, width, -1, -width)
    one = [numbers[flat + step] for step in steps]
    two = [np.where(first >= 0, first_of[first], -1) for first, first_of in zip(one, one, strict=True)]
    everyone = np.arange(len(places), dtype=np.int32)
    for _ in range(ROUNDS):
        for step, first, second in zip(steps, one, two, strict=True):
            ours = everyone[first >= 0]
            improve(ours, flat[found[first[ours]]] - step)
            # Turned and scaled copies: as the offset changed from the second neighbour to the first.
            ours = everyone[second >= 0]
            improve(ours, 2 * flat[found[first[ours]]] - flat[found[second[ours]]])
        for reach in REACH:
            down, right = rng.integers(-reach, reach + 1, (2, len(places)), dtype=np.int32)
            improve(everyone, flat[found] + down * width + right)
    return found


def _leaves(
    features: Features, likes: Features, places: Places, apart: float, rng: np.random.Generator
) -> tuple[Int[ndarray, "n"], Float[ndarray, "n"]]:
    """Each place's nearest one in the same leaf of a tree, and its distance squared."""
    n = len(features)
    alone = features is likes
    both = features if alone else np.vstack([features, likes])
    total = len(both)
    levels = max(math.ceil(math.log2(total / LEAF)), 0)
    leaves = np.concatenate([np.arange(total), rng.integers(0, total, (LEAF << levels) - total)])[None]
    along = np.ascontiguousarray(both[:, :DIRECTIONS].T)
    for level in range(levels):
        values = along[level % DIRECTIONS][leaves]
        order = np.argpartition(values, values.shape[1] // 2, axis=1)
        leaves = np.take_along_axis(leaves, order, axis=1).reshape(2 * len(leaves), -1)
    costs = _distances(both[leaves])
    costs[_distances(places[leaves % n].astype(np.float32)) < apart**2] = np.inf
    if not alone:
        costs += np.where(leaves < n, np.inf, 0).astype(np.float32)[:, None]  # these ask, the others answer
    best = costs.argmin(axis=2)
    found, least = np.zeros(total, np.int32), np.full(total, np.inf, np.float32)
    found[leaves] = np.take_along_axis(leaves, best, axis=1) % n
    least[leaves] = np.take_along_axis(costs, best[..., None], axis=2)[..., 0]
    return found[:n], least[:n]


def _distances(points: Float[ndarray, "l m k"]) -> Float[ndarray, "l m m"]:
    """Squared distances within each leaf."""
    squares = (points * points).sum(axis=2)
    return squares[:, :, None] + squares[:, None] - 2 * points @ points.transpose(0, 2, 1)


def fit_error(offsets: Float[ndarray, "h w"], radius: int = FIT_RADIUS) -> Float[ndarray, "h w"]:
    """Square error, summed over the disc around each pixel, of the best linear function of the place.

    Args:
        offsets: One component of a field.
        radius: Of the disc in pixels.
    """
    at = np.arange(-radius, radius + 1.0)
    disc = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    basis = [disc, at[:, None] * disc, at * disc]  # orthogonal, as the disc is symmetric
    exact = offsets.astype(np.float64)
    error = cv2.filter2D(exact * exact, cv2.CV_64F, disc)
    for one in basis:
        error -= cv2.filter2D(exact, cv2.CV_64F, one / np.sqrt((one * one).sum())) ** 2
    return np.maximum(error, 0)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the searched image, and the map to its like."""

    mask: Mask
    matrix: Float[ndarray, "2 3"]


def linear_regions(
    places: Places, likes: Int[ndarray, "n"], shape: tuple[int, ...], area: int
) -> list[Region]:
    """Where offsets are a linear function of the place, and their likes' too; the largest first."""
    offsets = np.zeros((2, *shape), np.float32)
    offsets[:, places[:, 0], places[:, 1]] = (places[likes] - places).T
    offsets = np.stack([cv2.medianBlur(one, MEDIAN) for one in offsets])
    known = np.zeros(shape, bool)
    known[tuple(places.T)] = True
    threshold = FIT * math.pi * FIT_RADIUS**2
    linear = known & (fit_error(offsets[0]) + fit_error(offsets[1]) <= threshold)
    labels, _ = ndimage.label(linear)
    found = []
    for number in np.flatnonzero(np.bincount(labels.ravel()) >= area)[1:]:
        own = np.argwhere(labels == number)
        region = _fitted(own, own + offsets[:, own[:, 0], own[:, 1]].T, shape, area)
        if region is not None:
            found.append(region)
    return sorted(found, key=lambda region: -int(region.mask.sum()))


def _fitted(own: Places, theirs: Float[ndarray, "n 2"], shape: tuple[int, ...], area: int) -> Region | None:
    """The region of those places that one map takes to their likes."""
    matrix = fitted(own, theirs)
    for _ in range(REFITS):
        close = np.hypot(*(own @ matrix[:, :2].T + matrix[:, 2] - theirs).T) <= CLOSE
        if np.count_nonzero(close) < area:
            return None
        matrix = fitted(own[close], theirs[close])
    mask = np.zeros(shape, bool)
    mask[tuple(own[close].T)] = True
    return Region(mask, matrix)


def _confirmed(
    plane: Field, valid: Mask, regions: list[Region], times: int, diameter: int
) -> list[AffineClone]:
    """The regions whose noise repeats, the surest first."""
    asked = np.zeros(plane.shape, bool)
    found = []
    tests = min(len(regions), MOST)
    for region in regions:
        mask, matrix = _enlarged(region, times, plane.shape, diameter)
        if not tests or np.count_nonzero(mask & asked) > np.count_nonzero(mask) / 2:
            continue
        tests -= 1
        # The other way round it is the same question.
        asked |= mapped(mask, matrix)
        clone = confirm(plane, valid, mask, matrix, min(len(regions), MOST))
        if clone is not None:
            found.append(clone)
    return sorted(found, key=lambda clone: clone.p_value)


def _enlarged(
    region: Region, times: int, shape: tuple[int, ...], diameter: int
) -> tuple[Mask, Float[ndarray, "2 3"]]:
    """A region in pixels of the image, with the discs around its places; and its map."""
    discs = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    whole = cv2.dilate(region.mask.astype(np.uint8), discs)
    mask = np.zeros(shape, bool)
    large = np.kron(whole, np.ones((times, times), np.uint8))[: shape[0], : shape[1]] > 0
    mask[: large.shape[0], : large.shape[1]] = large
    # A pixel of the searched image lies in the middle of those that it stands for.
    middle = (times - 1) / 2
    turn = region.matrix[:, :2]
    shift = times * region.matrix[:, 2] + middle - turn @ (middle, middle)
    return mask, np.column_stack([turn, shift])


def _smaller(plane: Field, times: int) -> Field:
    """The plane at a fraction of its size; what does not fill a pixel is left out."""
    height, width = (n // times for n in plane.shape)
    whole = np.ascontiguousarray(plane[: height * times, : width * times])
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA) if times > 1 else whole
