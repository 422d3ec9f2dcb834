"""Region growing: the object takes the connected voxels that are more like it than its surroundings.

Adams and Bischof, "Seeded region growing", IEEE Trans. PAMI 16(6), 1994.

Differs from the paper: there are two regions, one around the seed and one of everything else near
it; a round assigns all voxels at once, by medians instead of means, and starts over from the seed,
so that a region can give back what it took too early; the image is smoothed first; at last, holes
are filled. The other common rule, to take what is within some standard deviations of the region's
own mean, knows nothing of the surroundings: what is right for a clear edge runs out of a faint one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intact.errors import UsageError
from intact.segment.base import Classical, component_at, fill_holes
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

SIGMA = 0.8  # smoothing, in finest voxels: a third of white noise stays, and most of small objects
CORE = 1 / 3  # radii around the seed from which the object grows: inside it, if the seed is off its centre
ROUNDS = 50  # at most; five are usual, and two could alternate for ever


@dataclass(eq=False)
class RegionGrowing(Classical):
    """The connected voxels around the seed that are closer to the object's brightness than to the rest's.

    The object has to be of one brightness, and most of what is near it of another one.

    Args:
        reach: Radii around the seed that are looked at. What is farther is not the object: this
            stops what runs out through a gap in the edge.

    Raises:
        UsageError: The reach is not above 1.
    """

    reach: float = 2.5

    family: ClassVar[str] = "region"
    source: ClassVar[str] = "Adams and Bischof, IEEE Trans. PAMI 16(6), 1994"

    def __post_init__(self) -> None:
        if self.reach <= 1:
            raise UsageError(f"a reach of {self.reach} radii ends inside the object: give more than 1")

    def _segment(self, scene: Scene) -> Mask:
        box = scene.crop(self.reach)
        values, near, distance = scene.smooth(SIGMA)[box], scene.near(self.reach)[box], scene.distance()[box]
        seed = scene.seed_in(box)
        region = distance <= max(CORE * scene.radius, min(scene.spacing))
        for _ in range(ROUNDS):
            before, region = region, _grown(region, values, near, seed)
            if (region == before).all():
                break
        found = np.zeros_like(scene.within)
        found[box] = fill_holes(region)
        return found


def _grown(region: Mask, values: Values, near: Mask, seed: tuple[int, ...]) -> Mask:
    """The region at the seed after both regions' medians are taken anew."""
    around = near & ~region
    if not region.any() or not around.any():
        return region & near
    inside, outside = np.median(values[region]), np.median(values[around])
    alike = near & (np.abs(values - inside) < np.abs(values - outside))
    return component_at(alike, seed)
