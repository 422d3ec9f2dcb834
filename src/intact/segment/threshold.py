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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from scipy.signal import find_peaks
from skimage.filters import apply_hysteresis_threshold, threshold_li, threshold_multiotsu

from intact.errors import UsageError
from intact.segment.brightness import FLAT, SEVERAL, ByBrightness, adjacent, divisions, regions
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

BINS = 256  # of the histogram: a bin is then narrower than the noise
WIDTHS = 2.0 ** np.arange(0, 6, 0.5)  # standard deviations of the histogram's smoothing, in bins
STEEP = 1 / 4  # of the voxels: those of outlines, which would fill the valley
MOST = 2 / 3  # of a neighbourhood is object: from here on Li's rule does not split the rest

Points = Float[ndarray, "n"]


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
