"""Active contours kept as the region they enclose: Chan-Vese, and geodesic active contours.

Chan and Vese, "Active contours without edges", IEEE TIP 10(2), 2001.
Caselles, Kimmel, Sapiro, "Geodesic active contours", IJCV 22(1), 1997.

Differs from the papers: both look at the seed's neighbourhood alone, in a grid of one spacing along
all axes and without the plane that bias lays over it, and move the region itself instead of a
level-set function.

Chan and Vese's region is found by convolution and a threshold (Wang, Li, Wei, Wang, "An efficient
iterative thresholding method for image segmentation", J. Comput. Phys. 350, 2017). Medians stand
for the two means, so that a third tissue in the neighbourhood does not pull at them, and the
contour's length is weighted by the noise.

The geodesic contour takes the steps of morphological snakes (Márquez-Neila, Baumela, Álvarez, "A
morphological approach to curvature-based evolution of curves and surfaces", IEEE TPAMI 36(1),
2014). It is smoothed by a Gaussian and a threshold (Merriman, Bence, Osher, "Motion of multiple
junctions", J. Comput. Phys. 112(2), 1994). The gradient that stops it and the scale of gradients
come from the image. Its last steps add the Laplacian to the gradient's slope, without which a
curved edge would be placed too far inside (Verbeek and van Vliet, "On the location error of curved
edges in low-pass filtered 2-D and 3-D images", IEEE TPAMI 16(7), 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage, stats

from intact.segment.base import Classical, component_at, fill_holes
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene, distance_from

REACH = 2.5  # radii around the seed that are looked at: enough of the outside, and bias is a plane there
GENTLE = 2.0  # sigma in voxels before the slope of that plane is taken
VOXELS = 500_000  # of the grid, about, at most: 16 in a radius of a volume, 140 in one of a plane

INSIDE = 0.7  # radii of Chan and Vese's first region: within the object even where the radius is too large
DENOISE = 0.7  # sigma in voxels before Chan-Vese: leaves 0.4 of white noise in a plane, and all corners
LENGTH = 1.5  # sigma in voxels of the Gaussian that measures the length of Chan and Vese's contour
STEPS = 100  # of Chan-Vese at most; ten are usual

ASTRAY = 0.6  # radii from the seed at most at which the geodesic contour begins: farther, it may be outside
BUD = 0.4  # radii of its first region, which is to lie within the object
RIM = 0.3  # radii to both sides of the expected edge, in which the object's edge is looked for ...
STRONG = 0.8  # ... as this quantile of gradients, for there is more in the rim than the edge
QUIET = 0.25  # quantile of gradients that tells the noise: the rest of the neighbourhood may hold edges
CLEAR = 3.0  # times the gradient that stops the contour which the object's edge should have, ...
COARSER = 1.4  # ... or else gradients are taken at a scale that many times larger ...
COARSEST = 1 / 3  # ... up to this share of the radius; beyond, the object itself is blurred away
MOST = 0.5  # of the edge's gradient stops the contour, whatever the noise
SMOOTH = 0.7  # sigma in voxels of the Gaussian that smooths the geodesic contour: wears off single voxels
LAST = 2  # steps with the Laplacian: edges are misplaced by a voxel, and more steps would follow noise


class _Around:
    """What is near the seed of a scene, in a grid of one spacing along all axes.

    `distance` is from the seed, in radii; `radius` is in voxels of the grid.
    """

    def __init__(self, scene: Scene) -> None:
        self.whole, self.box = scene.values.shape, scene.crop(REACH)
        values, within = scene.values[self.box], scene.within[self.box]
        seed = scene.seed_in(self.box)
        near = within & (distance_from(seed, values.shape, scene.spacing) <= REACH * scene.radius)
        # The border of the body would be the clearest edge of all.
        ground = np.median(values[near]) if near.any() else np.float32(0)
        values = np.where(within, values, ground)

        volume = values.size * float(np.prod(scene.spacing))
        step = max(min(scene.spacing), (volume / VOXELS) ** (1 / values.ndim))
        zooms = [float(side / step) for side in scene.spacing]
        shape = tuple(round((n - 1) * zoom) + 1 for n, zoom in zip(values.shape, zooms, strict=True))
        self.seed = tuple(round(at * zoom) for at, zoom in zip(seed, zooms, strict=True))
        self.radius = scene.radius / step
        self.distance = distance_from(self.seed, shape, (1 / self.radius,) * values.ndim)
        self.near = _zoomed(near.astype(np.float32), shape) > 0.5
        # Where voxels are left out, the others stand for them.
        values = ndimage.gaussian_filter(values, [0.5 / zoom if zoom < 1 else 0.0 for zoom in zooms])
        self.values = _levelled(_zoomed(values, shape), self.near)

    def back(self, region: Mask) -> Mask:
        """The part of a region at the seed, without holes, in the scene's grid."""
        region = fill_holes(component_at(region, self.seed))
        found = np.zeros(self.whole, bool)
        found[self.box] = _zoomed(region.astype(np.float32), found[self.box].shape) > 0.5
        return found


@dataclass(eq=False)
class ChanVese(Classical):
    """The region that is told best from what is around it by two values, in a short contour.

    Edges may be blurred or broken, but the object has to be brighter than its surroundings, and
    each should be of one brightness for the most part, apart from one slope that both share.

    Args:
        length: Weight of the contour's length, in variances of the noise; more is smoother.
    """

    length: float = 2.0

    family: ClassVar[str] = "contour"
    source: ClassVar[str] = "Chan and Vese, IEEE TIP 10(2), 2001"

    def _segment(self, scene: Scene) -> Mask:
        around = _Around(scene)
        values = _blurred(around.values, DENOISE)
        region = around.near & (around.distance <= INSIDE)
        for _ in range(STEPS):
            before, region = region, self._step(values, around.near, region, scene.noise)
            if (region == before).all():
                break
        return around.back(region)

    def _step(self, values: Values, near: Mask, region: Mask, noise: float) -> Mask:
        """Put each voxel on the side where it adds less to the energy."""
        outside = near & ~region
        if not region.any() or not outside.any():
            return np.zeros_like(region)
        high, low = np.median(values[region]), np.median(values[outside])
        if high <= low:
            return np.zeros_like(region)
        share = _blurred(region.astype(np.float32), LENGTH)
        fit = (high - low) * (values - (high + low) / 2)
        moved: Mask = near & (fit + self.length * noise**2 * (2 * share - 1) > 0)
        return moved


@dataclass(eq=False)
class Geodesic(Classical):
    """A contour that grows from the seed until it meets an edge.

    Neither the object nor what is around it has to be of one brightness, and short gaps of the edge
    are bridged; through a long one the contour leaves the object.

    Args:
        stop: The contour grows where the gradient is up to so many times the noise's deviation.
    """

    stop: float = 3.0

    family: ClassVar[str] = "contour"
    source: ClassVar[str] = "Caselles et al., IJCV 22(1), 1997; Márquez-Neila et al., IEEE TPAMI 36(1), 2014"

    def _segment(self, scene: Scene) -> Mask:
        around = _Around(scene)
        edges = self._edges(around)
        if edges is None:
            return np.zeros(scene.values.shape, bool)
        smooth, gradient, free = edges
        rise = _slopes(gradient)
        growth = int(2 * REACH * around.radius) + 20  # twice the way to the farthest voxel
        begins = free & around.near & (smooth >= smooth[around.seed])  # on the bright side of an edge
        region = _move(_bud(around, begins), around.near, rise, free, growth)

        bend = ndimage.laplace(smooth, mode="nearest") / np.maximum(gradient, np.float32(1e-12))
        rise = [change + bend * slope for change, slope in zip(rise, _slopes(smooth), strict=True)]
        return around.back(_move(region, around.near, rise, np.zeros_like(free), LAST))

    def _edges(self, around: _Around) -> tuple[Values, Values, Mask] | None:
        """The image at the finest scale at which the edge is clear, its gradient, and where that is low.

        None if there is no edge where that of the object should be.
        """
        rim = around.near & (np.abs(around.distance - 1) <= RIM)
        sigma = 1.0
        while True:
            smooth = _blurred(around.values, sigma)
            slopes = _slopes(smooth)
            gradient = np.sqrt(sum(slope**2 for slope in slopes))
            if not gradient[rim].any():
                return None
            # Slopes of noise are normal, and so the root of the sum of their squares has a chi distribution.
            noise = np.quantile(gradient[around.near], QUIET) / stats.chi.ppf(QUIET, len(slopes))
            edge = np.quantile(gradient[rim], STRONG)
            if edge > CLEAR * self.stop * noise or COARSER * sigma > COARSEST * around.radius:
                return smooth, gradient, gradient <= min(self.stop * noise, MOST * edge)
            sigma *= COARSER


def _bud(around: _Around, free: Mask) -> Mask:
    """The first region: off the edge if the seed lies on it, unless that is far."""
    nearest = np.unravel_index(int(np.argmin(np.where(free, around.distance, np.inf))), free.shape)
    start = around.seed
    if free[nearest] and around.distance[nearest] <= ASTRAY:
        start = tuple(int(at) for at in nearest)
    return around.near & (distance_from(start, free.shape, (1 / around.radius,) * free.ndim) <= BUD)


def _move(region: Mask, near: Mask, rise: list[Values], free: Mask, steps: int) -> Mask:
    """Step until the region stays as it is, goes to and fro, or is gone."""
    before = region
    for _ in range(steps):
        if not region.any():
            break
        moved = _step(region, rise, free) & near
        if (moved == before).all():
            break
        before, region = region, moved
    return region


def _step(region: Mask, rise: list[Values], free: Mask) -> Mask:
    """Grow by a voxel where free, follow the rise to the edge, and be smoothed."""
    (found,) = ndimage.find_objects(region.astype(np.uint8))
    # All that can change is in a box with some room for growth and the Gaussian.
    box = tuple(slice(max(0, side.start - 5), side.stop + 5) for side in found)
    part = region[box]
    grown = ndimage.binary_dilation(part, ndimage.generate_binary_structure(part.ndim, part.ndim))
    contour = np.where(free[box], grown, part).astype(np.float32)
    outward = sum(up[box] * slope for up, slope in zip(rise, _slopes(contour), strict=True))
    contour[outward < 0] = 1
    contour[outward > 0] = 0
    moved = np.zeros_like(region)
    moved[box] = _blurred(contour, SMOOTH) > 0.5
    return moved


def _levelled(values: Values, near: Mask) -> Values:
    """Without the plane that bias lays over an image; the median slope is blind to the object."""
    if not near.any():
        return values
    slopes = [np.median(slope[near]) for slope in _slopes(_blurred(values, GENTLE))]
    steps = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in values.shape), indexing="ij", sparse=True)
    return values - sum(slope * step for slope, step in zip(slopes, steps, strict=True))


def _blurred(values: Values, sigma: float) -> Values:
    blurred: Values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    return blurred


def _slopes(values: Values) -> list[Values]:
    """Central differences along each axis; beyond the grid nothing changes."""
    return [
        ndimage.correlate1d(values, [-0.5, 0.0, 0.5], axis, mode="nearest") for axis in range(values.ndim)
    ]


def _zoomed(values: Values, shape: tuple[int, ...]) -> Values:
    """In another grid, between the centres of the first and the last voxels."""
    zooms = [to / n for to, n in zip(shape, values.shape, strict=True)]
    zoomed: Values = ndimage.zoom(values, zooms, order=1, mode="nearest")
    return zoomed
