"""Thresholding: the object is what is brighter than a level that the histogram tells.

Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979.
Liao, Chen, Chung, "A fast algorithm for multilevel thresholding", J. Inf. Sci. Eng. 17(5), 2001.
Prewitt and Mendelsohn, "The analysis of cell images", Ann. N.Y. Acad. Sci. 128, 1966 (valley);
Weszka and Rosenfeld, "Histogram modification for threshold selection", IEEE Trans. SMC 9(1), 1979.
Li and Tam, "An iterative algorithm for minimum cross entropy thresholding", Pattern Recognition
Letters 19(8), 1998.
Canny, "A computational approach to edge detection", IEEE Trans. PAMI 8(6), 1986 (hysteresis).

Differs from the papers: the image is smoothed first, and the result tidied. The histogram is that
of the seed's neighbourhood if the user gave one, of all of the scene otherwise; the rim of the
scene is left out, since its partial volume would be a class of its own. With three or more classes
the level lies between two of them, not always neighbours: those with the steepest outline between
them. Li's rule sees a neighbourhood that the object fills for the most part, since it splits the
larger class otherwise. Canny's levels are of gradients and given; here they are of values and
measured.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from scipy.signal import find_peaks
from skimage.filters import apply_hysteresis_threshold, threshold_li, threshold_multiotsu

from intact.errors import UsageError
from intact.segment.base import SMALLEST, Classical, Mask, Scene, Values, component_at, fill_holes

SIGMA = 1.0  # smoothing, in voxels: noise falls to a third, edges stay
RANGE = (-1.0, 2.0)  # of values: one of thousands, such as metal, would be a class of its own
BINS = 256  # of the histogram: a bin is then narrower than the noise
WIDTHS = 2.0 ** np.arange(0, 6, 0.5)  # standard deviations of the histogram's smoothing, in bins
STEEP = 1 / 4  # of the voxels: those of outlines, which would fill the valley
FLAT = 1e-4  # range, in units of values: less is rounding
RIM = 2  # voxels: as far as blur and smoothing carry what is outside into the scene
ALIKE = 4.0  # times as large or as small as a ball of the measured radius is an object of that radius
REACH = 2.5  # radii around a given seed in which to look for the object, whose radius is not exact
THICK = 2.0  # finest spacings: neighbours that far apart are not alike, and diagonal ones less so

# Shares of the object in the neighbourhood of a given seed in which levels are measured.
TWO = 1 / 5  # nothing but the object and what is around it
SEVERAL = 1 / 10  # other tissues too; with less of the object, shading divides what is around it
MOST = 2 / 3  # from here on Li's rule does not split what is around it

Points = Float[ndarray, "n"]


@dataclass(eq=False)
class ByBrightness(Classical):
    """What thresholding and clustering share: all but what is bright enough.

    With a given seed the object there is returned, otherwise all parts of at least a few voxels.
    """

    share: ClassVar[float] = TWO

    @final
    def _segment(self, scene: Scene) -> Mask:
        found = np.zeros_like(scene.within)
        near, box = _focus(scene, self.share)
        smooth = near.smooth(SIGMA)
        measured, searched = regions(near, self.share)
        if measured.any() and np.ptp(smooth[measured]) >= FLAT:
            masks = self._masks(near, smooth, measured, searched)
            found[box] = _steepest([tidy(mask & searched, near) for mask in masks], smooth, searched, near)
        return found

    @abstractmethod
    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        """What is bright enough; where that can be seen in several ways, all of them.

        Args:
            scene: The scene, or its part around a given seed.
            smooth: Its values, smoothed.
            measured: Where to measure what the object is like.
            searched: Where to look for it; what is found elsewhere does not count.
        """


@dataclass(eq=False)
class Threshold(ByBrightness):
    """A method whose smoothed values are compared with a level."""

    family: ClassVar[str] = "threshold"


@dataclass(eq=False)
class Otsu(Threshold):
    """The level that leaves the least variance within two classes.

    Without a given seed, an object under a twentieth of the scene is lost to shading of the rest.
    """

    source: ClassVar[str] = "Otsu, IEEE Trans. SMC 9(1), 1979"

    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        return [smooth > class_means(smooth[measured], 2).mean()]


@dataclass(eq=False)
class MultiOtsu(Threshold):
    """The classes that leave the least variance within three or four of them.

    The object is the class of the seed and those above it, or the highest if no seed is given.

    Args:
        classes: 3 or 4.

    Raises:
        UsageError: Another number of classes.
    """

    classes: int = 3

    source: ClassVar[str] = "Liao et al., J. Inf. Sci. Eng. 17(5), 2001"
    share: ClassVar[float] = SEVERAL

    def __post_init__(self) -> None:
        if self.classes not in (3, 4):
            raise UsageError(f"{self.classes} classes: for two use otsu, for more kmeans; give 3 or 4")

    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        means = class_means(smooth[measured], self.classes)
        for dark, bright in divisions(means, smooth, scene):
            yield smooth > (means[dark] + means[bright]) / 2


@dataclass(eq=False)
class Histogram(Threshold):
    """The level at the valley between two modes, or of minimum cross-entropy.

    Args:
        rule: "valley" smooths the histogram, of places that are not steep, until two modes are left;
            if there never are two, the level is Otsu's. "li" divides the values so that the means of
            both parts tell most of them; without a given seed it fails on objects under a tenth of
            the scene.
    """

    rule: Literal["valley", "li"] = "valley"

    source: ClassVar[str] = "Prewitt and Mendelsohn, Ann. N.Y. Acad. Sci. 128, 1966"

    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        if self.rule == "li":
            measured, _ = regions(scene, MOST)
            return [smooth > threshold_li(smooth[measured], tolerance=FLAT)]
        values = smooth[measured]
        slope = ndimage.morphological_gradient(smooth, footprint=adjacent(scene))[measured]
        level = valley(values[slope <= np.quantile(slope, 1 - STEEP)])
        return [smooth > (class_means(values, 2).mean() if level is None else level)]


@dataclass(eq=False)
class Hysteresis(Threshold):
    """All that is above a low level and connected to something above a high one.

    Levels are measured from the means of Otsu's two classes: 0 is that of the darker class, 1 that
    of the brighter.

    Args:
        low: What the object is above everywhere.
        high: What each part of it is above somewhere.

    Raises:
        UsageError: The high level is under the low one.
    """

    low: float = 0.5
    high: float = 0.9

    source: ClassVar[str] = "Canny, IEEE Trans. PAMI 8(6), 1986"

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise UsageError(f"the high level {self.high} is under the low level {self.low}: exchange them")

    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        dark, bright = class_means(smooth[measured], 2)
        low, high = (dark + level * (bright - dark) for level in (self.low, self.high))
        return [apply_hysteresis_threshold(np.where(searched, smooth, -np.inf), low, high)]


def regions(scene: Scene, share: float) -> tuple[Mask, Mask]:
    """Where to measure what the object is like, and where to look for it.

    Args:
        scene: With a given seed both are neighbourhoods of it, otherwise all of `within`.
        share: Of the object in the first of them, if it is round and its radius right.
    """
    measured, searched = scene.within, scene.within
    if scene.given:
        times = _times(scene, share)
        measured, searched = scene.near(times), scene.near(max(times, REACH))
    inner = measured & _inner(scene)
    return (inner if inner.any() else measured), searched


def class_means(values: Points, classes: int) -> Float[ndarray, "k"]:
    """Means of the classes of least variance, rising; fewer of them if there are fewer values.

    Otsu's levels lie halfway between them, also where nothing else tells a place in a gap.
    """
    counts, edges = np.histogram(values, BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    levels = threshold_multiotsu(classes=min(classes, np.count_nonzero(counts)), hist=(counts, middles))
    number = np.digitize(middles, levels, right=True)
    means: Float[ndarray, "k"] = np.bincount(number, counts * middles) / np.bincount(number, counts)
    return means


def valley(values: Points) -> float | None:
    """The middle of the valley between the two modes that are left in a histogram; None if never two."""
    counts, edges = np.histogram(values, BINS)
    padded = np.pad(counts.astype(np.float64), 1)  # so that the first and the last bin can be modes
    for width in WIDTHS:
        heights = ndimage.gaussian_filter1d(padded, width, mode="constant")
        modes, _ = find_peaks(heights)
        if len(modes) == 2:
            between = heights[modes[0] : modes[1] + 1]
            lowest = modes[0] + np.flatnonzero(between <= between.min()) - 1
            return float((edges[lowest] + edges[lowest + 1]).mean() / 2)
    return None


def adjacent(scene: Scene) -> Bool[ndarray, "..."]:
    """A voxel and its direct neighbours, of shape [3,...]; where planes are thick, in its plane only."""
    steps = np.array(scene.spacing) / min(scene.spacing)
    apart = np.tensordot(steps, np.abs(np.indices((3,) * steps.size) - 1), axes=1)
    return apart < THICK


def divisions(means: Float[ndarray, "k"], smooth: Values, scene: Scene) -> list[tuple[int, int]]:
    """Pairs of classes between which the object may end: the darker one, the brighter one.

    Classes between those two may be the blurred outline. The brighter is at most the class of a
    given seed, and the highest if none is given.

    Args:
        means: Of the classes, two or more, rising.
        smooth: The smoothed scene.
        scene: Tells the seed.
    """
    if not scene.given:
        return [(dark, means.size - 1) for dark in range(means.size - 1)]
    core = smooth[scene.distance() <= SMALLEST * min(scene.spacing)]
    at_seed = max(1, int(np.abs(means - np.median(core)).argmin()))
    return list(itertools.combinations(range(at_seed + 1), 2))


def tidy(mask: Mask, scene: Scene) -> Mask:
    """Opened; then the object at a given seed, without holes, or all parts but the smallest.

    Without a given seed only the smallest holes are filled: what a tissue encloses may be another.
    """
    if not scene.given:
        return ~_large(~_large(ndimage.binary_opening(mask, adjacent(scene))))
    part = component_at(mask, scene.seed)
    opened = ndimage.binary_opening(part, adjacent(scene))
    return fill_holes(component_at(opened, scene.seed) if opened.any() else part)


def _focus(scene: Scene, share: float) -> tuple[Scene, tuple[slice, ...]]:
    """The part of a scene that `regions` need, without outliers, and where it lies."""
    box, seed = (slice(None),) * scene.values.ndim, scene.seed
    if scene.given:
        box = scene.crop(max(_times(scene, share), REACH))
        seed = tuple(at - side.start for at, side in zip(scene.seed, box, strict=True))
    values = np.clip(scene.values[box], *RANGE)
    return replace(scene, values=values, within=scene.within[box], seed=seed), box


def _times(scene: Scene, share: float) -> float:
    """Radii from the seed within which an object has such a share."""
    return (1 / share) ** (1 / scene.values.ndim)


def _inner(scene: Scene) -> Mask:
    """`within`, without its rim."""
    inner: Mask = ndimage.binary_erosion(scene.within, iterations=RIM, border_value=1)
    return inner


def _large(mask: Mask) -> Mask:
    """Parts that have as many voxels as a disk of the smallest radius that can be told from noise."""
    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= np.pi * SMALLEST**2
    large[0] = False
    return large[labels]


def _steepest(masks: list[Mask], smooth: Values, searched: Mask, scene: Scene) -> Mask:
    """The mask whose outlines, those inside the searched region, fall most steeply.

    With a given seed only those count that are about as large as the object; or else the organ
    around it would win wherever the body's outline is in sight.
    """
    if scene.given:
        ball = np.count_nonzero(scene.near(1.0))
        fitting = [mask for mask in masks if 1 / ALIKE < np.count_nonzero(mask) / ball < ALIKE]
        masks = fitting or masks
    where = searched & _inner(scene)
    return max(masks, key=lambda mask: _fall(mask, smooth, where, scene.spacing))


def _fall(mask: Mask, smooth: Values, where: Mask, spacing: tuple[float, ...]) -> float:
    """How much lower, per mm, the voxels next to a mask are than those at its border, on average."""
    total, count = 0.0, 0
    for axis, step in enumerate(spacing):
        inside, values, counts = (np.moveaxis(a, axis, 0) for a in (mask.astype(np.int8), smooth, where))
        change = np.diff(inside, axis=0) * (counts[1:] & counts[:-1])
        total += float((change * np.diff(values, axis=0)).sum()) / step
        count += int(np.count_nonzero(change))
    return total / max(count, 1)
