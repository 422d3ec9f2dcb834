"""Watershed: water rises from the seed and from far around it, and meets on the edge between them.

Beucher and Meyer, "The morphological approach to segmentation: the watershed transformation", in
Mathematical Morphology in Image Processing, Dekker, 1993.
Meyer, "Topographic distance and watershed lines", Signal Processing 38(1), 1994.

Differs from the papers: the image is smoothed by a Gaussian before its morphological gradient is
taken; there is no line between the basins, every voxel belongs to one of them. Among blurred edges
the steepest place of a round object is inside its outline, so that what is found is a little small:
by about a twentieth of the area at a radius of 8 pixels, and more in volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage
from skimage import segmentation

from intact.errors import UsageError
from intact.segment.base import Classical
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

SIGMA = 1.0  # smoothing, in finest voxels: with less, noise makes edges of its own
CORE = 1 / 3  # radii around the seed that are the object: inside it, if the seed is off its centre
FARTHEST = 0.9  # of the distance to the farthest voxel: some voxels have to be outside
# Axes along which a neighbour may differ, for planes and volumes: in these, diagonal ones are far.
NEIGHBOURS = {2: 2, 3: 1}


@dataclass(eq=False)
class Watershed(Classical):
    """What the highest edge around the seed encloses, however bright either side is.

    Where the edge has gaps, the border goes the way of the steepest slopes that are there.

    Args:
        reach: Radii around the seed. What is farther is not the object; the edge is looked for
            between a third of a radius and here.

    Raises:
        UsageError: The reach is not above 1.
    """

    reach: float = 2.0

    family: ClassVar[str] = "region"
    source: ClassVar[str] = "Beucher and Meyer, Mathematical Morphology in Image Processing, 1993"

    def __post_init__(self) -> None:
        if self.reach <= 1:
            raise UsageError(f"a reach of {self.reach} radii ends inside the object: give more than 1")

    def _segment(self, scene: Scene) -> Mask:
        box = scene.crop(self.reach)
        distance = scene.distance()[box]
        limit = min(self.reach * scene.radius, FARTHEST * float(distance.max()))
        markers = np.zeros(distance.shape, np.int8)
        markers[(distance > limit) | ~scene.within[box]] = 2
        markers[distance <= max(CORE * scene.radius, min(scene.spacing))] = 1
        near = ndimage.generate_binary_structure(distance.ndim, NEIGHBOURS[distance.ndim])
        relief = ndimage.morphological_gradient(scene.smooth(SIGMA)[box], footprint=near)
        found = np.zeros_like(scene.within)
        found[box] = segmentation.watershed(relief, markers, connectivity=near) == 1
        return found
