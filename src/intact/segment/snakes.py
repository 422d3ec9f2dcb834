"""Snakes: a closed curve under tension and stiffness that edges attract.

Kass, Witkin, Terzopoulos, "Snakes: Active contour models", IJCV 1(4), 1988.

Differs from the paper: nobody draws the first curve, it is a circle about what roughly is the
object. Only edges whose bright side faces its centre attract, the more strongly the farther out
they are, by the square root of the distance: that undoes the shift by which smoothing takes the
edge of a disc inwards (Verbeek and van Vliet, "On the location error of curved edges in low-pass
filtered 2-D and 3-D images", IEEE TPAMI 16(7), 1994). Edges are measured in the object's own, and
lengths in steps between points, so that one tension and one stiffness serve all images and scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.segmentation import active_contour

from intact.segment.base import Classical, component_at
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

REACH = 2.5  # radii about the object that are looked at
START = 1.15  # radii of the first circle: about most of an object, and near enough to its edge
ROUGHLY = 0.15  # sigma in radii before the object is cut out roughly: less than its shape
RIM = 0.3  # radii to both sides of a circle's edge, in which the object's edge is looked for ...
STRONG = 0.9  # ... as this quantile of how values fall there, for the curve is drawn to the strongest
MARGIN = 0.3  # radii by which an image is continued: where its border cuts the object, the curve turns there
COARSEST = 8  # steps in a radius at the first scale, at which the edge is felt from all of the first circle
COARSE, FINE = 3, 100  # steps in a radius at the last scale, at least and at most; else a step is a pixel
SIGMA = 1.4  # steps, of the Gaussian before edges are taken: one point's edge is then its neighbours' too
PACE = 1.0  # gamma of the paper; with less, points leap over the edge and back
ROUNDS = 300  # at each scale at most; curves rest after some tens

Points = Float[ndarray, "n 2"]  # rows and columns, from the centre
Pair = Float[ndarray, "2"]  # of rows and columns


@dataclass(eq=False)
class Snakes(Classical):
    """A smooth closed curve that rests on edges; for planes.

    The object has to be of such a shape that lines from its centre leave it only once.

    Args:
        tension: Alpha of the paper: how much the curve resists being longer.
        stiffness: Beta of the paper: how much it resists being bent.
    """

    tension: float = 0.03
    stiffness: float = 0.1

    family: ClassVar[str] = "contour"
    source: ClassVar[str] = "Kass et al., IJCV 1(4), 1988"
    dimensions: ClassVar[tuple[int, ...]] = (2,)

    def _segment(self, scene: Scene) -> Mask:
        rough = _rough(scene)
        if not rough.any():
            return rough
        spacing = np.asarray(scene.spacing)
        radius = float(np.sqrt(np.count_nonzero(rough) * spacing.prod() / np.pi))
        margin = np.ceil(MARGIN * radius / spacing).astype(int)
        centre = np.argwhere(rough).mean(axis=0) + margin
        # The border of the body would be the clearest edge of all.
        ground = np.median(scene.values[scene.near(REACH)])
        values = np.pad(np.where(scene.within, scene.values, ground), [(m, m) for m in margin], mode="edge")

        last = float(np.clip(min(scene.spacing), radius / FINE, radius / COARSE))
        step = max(radius / COARSEST, last)
        curve = _circle(START * radius, step)
        while True:
            edges = _edges(values, float(ground), centre, spacing, radius, step)
            curve = self._settled(edges, curve / step) * step
            if step == last:
                break
            step = max(step / 2, last)
            curve = _spread(curve, step)
        # A curve that crosses itself leaves loops.
        return component_at(polygon2mask(scene.values.shape, centre - margin + curve / spacing), scene.seed)

    def _settled(self, edges: Values, curve: Points) -> Points:
        """The curve once it rests, in steps from the middle of the edges."""
        middle = (np.asarray(edges.shape) - 1) / 2
        found = active_contour(
            edges,
            curve + middle,
            alpha=self.tension,
            beta=self.stiffness,
            w_line=1,
            w_edge=0,
            gamma=PACE,
            max_num_iter=ROUNDS,
        )
        return found - middle


def _rough(scene: Scene) -> Mask:
    """What is brighter than halfway between the seed's surroundings and what is around them."""
    distance = scene.distance() / np.float32(scene.radius)
    inside = scene.within & (distance <= 0.5)
    outside = scene.within & (distance > 1.5) & (distance <= REACH)
    if not inside.any() or not outside.any():
        return np.zeros(distance.shape, bool)
    high, low = np.median(scene.values[inside]), np.median(scene.values[outside])
    if high <= low:
        return np.zeros(distance.shape, bool)
    smooth = scene.smooth(ROUGHLY * scene.radius / min(scene.spacing))
    return component_at(scene.within & (distance <= 2) & (smooth > (high + low) / 2), scene.seed)


def _circle(radius: float, step: float) -> Points:
    angles = np.arange(0, 2 * np.pi, step / radius)
    return radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _spread(curve: Points, step: float) -> Points:
    """Points evenly along a closed curve, about one step apart."""
    closed = np.concatenate([curve, curve[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, along[-1], max(8, round(along[-1] / step)), endpoint=False)
    return np.stack([np.interp(at, along, axis) for axis in closed.T], axis=1)


def _edges(
    values: Values, ground: float, centre: Pair, spacing: Pair, radius: float, step: float
) -> Float[ndarray, "n n"]:
    """How steeply values fall on the way from the centre, on a square grid; about 1 at the object's edge.

    Args:
        values: Of the plane, with its margin.
        ground: Value beyond it.
        centre: Index of the grid's middle.
        spacing: Of the plane, in mm.
        radius: Of the object, in mm.
        step: Of the grid, in mm.
    """
    half = int(np.ceil(REACH * radius / step))
    smooth = ndimage.gaussian_filter(values, SIGMA * step / spacing, mode="constant", cval=ground)
    corner = centre - half * step / spacing
    grid = ndimage.affine_transform(
        smooth, step / spacing, corner, (2 * half + 1,) * 2, order=1, mode="constant", cval=ground
    )
    away = np.indices(grid.shape) - half
    distance = np.maximum(np.hypot(*away), 1)
    fall = np.maximum(-(np.stack(np.gradient(grid)) * away).sum(axis=0), 0) / np.sqrt(distance)
    strength = np.quantile(fall[np.abs(distance * step / radius - 1) <= RIM], STRONG)
    return fall / (strength or 1)
