"""What thresholding and clustering share: the object is what is bright enough, somewhere.

Where to measure brightness and where to look for the object, which of several classes it is, and
what makes a mask of what is found.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from intact.segment.base import Classical, component_at, fill_holes
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import SMALLEST, Scene

SIGMA = 1.0  # smoothing, in voxels: noise falls to a third, edges stay
RANGE = (-1.0, 2.0)  # of values: one of thousands, such as metal, would be a class of its own
FLAT = 1e-4  # range, in units of values: less is rounding
RIM = 2  # voxels: as far as blur and smoothing carry what is outside into the scene
ALIKE = 4.0  # times as large or as small as a ball of the measured radius is an object of that radius
REACH = 2.5  # radii around a given seed in which to look for the object, whose radius is not exact
THICK = 2.0  # finest spacings: neighbours that far apart are not alike, and diagonal ones less so

# Shares of the object in the neighbourhood of a given seed in which levels are measured.
TWO = 1 / 5  # nothing but the object and what is around it
SEVERAL = 1 / 10  # other tissues too; with less of the object, shading divides what is around it


@dataclass(eq=False)
class ByBrightness(Classical):
    """A method that is told by brightness: all but what is bright enough.

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
        seed = scene.seed_in(box)
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
