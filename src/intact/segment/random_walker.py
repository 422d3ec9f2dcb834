"""Random walker: each voxel belongs to the seeds that a walk through alike voxels reaches first.

Grady, "Random walks for image segmentation", IEEE Trans. PAMI 28(11), 2006.

Differs from the paper: the seeds are not drawn. Brightness decides where it leaves no doubt, and the
walk in between; from a single seed, paths to the far more numerous seeds around it would make the
object too small, in volumes most of all. The image is smoothed first, and holes are filled. Walks
take no notice of the spacing: scikit-image divides differences by it, so that thick slices would
leak into each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Integer
from numpy import ndarray
from scipy import ndimage
from skimage import segmentation

from intact.errors import UsageError
from intact.segment.base import Classical, component_at, fill_holes
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

SIGMA = 0.8  # smoothing, in finest voxels: a third of white noise stays, and most of small objects
CORE = 1 / 3  # radii around the seed that are the object: inside it, if the seed is off its centre
AROUND = 1.5  # radii: from here on, most are surroundings
DOUBT = 0.3  # of the difference between object and surroundings: nearer to one than that is sure
TOLERANCE = 1e-5  # of the linear system, relative: probabilities are then right to three digits
OBJECT, REST, LEFT_OUT = 1, 2, -1  # labels; 0 is for the walk to decide

Labels = Integer[ndarray, "..."]


@dataclass(eq=False)
class RandomWalker(Classical):
    """A walk decides on the voxels whose brightness is between the object's and its surroundings'.

    Args:
        beta: How much steps between unlike voxels are avoided, as scikit-image has it: relative to
            the deviation of the values. With more, the border follows edges, and noise; with less
            it goes the shortest way between the seeds.
        reach: Radii around the seed. What is farther is not the object.

    Raises:
        UsageError: Beta is negative. The reach is not above 1.
    """

    beta: float = 130.0
    reach: float = 2.5

    family: ClassVar[str] = "graph"
    source: ClassVar[str] = "Grady, IEEE Trans. PAMI 28(11), 2006"

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise UsageError(f"a beta of {self.beta} would seek unlike neighbours: give 0 or more")
        if self.reach <= 1:
            raise UsageError(f"a reach of {self.reach} radii ends inside the object: give more than 1")

    def _segment(self, scene: Scene) -> Mask:
        box = scene.crop(self.reach)
        values = scene.smooth(SIGMA)[box].astype(np.float64)  # the linear system needs the digits
        seeds = self._seeds(values, scene, box)
        if (seeds == 0).any():
            walk = _without_insides(seeds)
            # A probability that leaves 0..1 by a rounding changes no label: no need to warn of it.
            walked = segmentation.random_walker(
                values, walk, self.beta, mode="cg_j", tol=TOLERANCE, prob_tol=np.inf
            )
            seeds = np.where(seeds == 0, walked, seeds)
        found = np.zeros_like(scene.within)
        found[box] = fill_holes(seeds == OBJECT)
        return found

    def _seeds(self, values: Values, scene: Scene, box: tuple[slice, ...]) -> Labels:
        """Labels of all voxels about which there is no doubt."""
        distance = scene.distance()[box]
        far = (distance > self.reach * scene.radius) | ~scene.within[box]
        core = distance <= max(CORE * scene.radius, min(scene.spacing))
        ring = (distance > AROUND * scene.radius) & ~far
        rest = ring if ring.any() else ~core
        inside = np.median(values[core])
        outside = np.median(values[rest]) if rest.any() else inside
        labels = np.zeros(values.shape, np.int8)
        if inside != outside:
            like_object = (values - outside) / (inside - outside)
            labels[like_object <= DOUBT] = REST
            seed = scene.seed_in(box)
            labels[component_at((like_object >= 1 - DOUBT) & ~far, seed)] = OBJECT
        labels[far] = REST
        labels[core] = OBJECT
        return labels


def _without_insides(labels: Labels) -> Labels:
    """Labels of which those that no walk can reach are left out, which saves most of the time."""
    reduced = labels.copy()
    for label in (OBJECT, REST):
        reduced[ndimage.binary_erosion(labels == label, border_value=1)] = LEFT_OUT
    return reduced
