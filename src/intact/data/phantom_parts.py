"""What the phantoms share: soft shapes, smooth noise, tubes, vessel trees and lesion blobs.

Shapes are signed distances in mm, negative inside, so that one clip gives the partial volume of
a pixel. Coordinates are DICOM's: x to the patient's left, y to the back, z to the head. Planes
are rendered one by one, so x and y are arrays and z is a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

Field = NDArray[np.floating[Any]]
Point = tuple[float, float, float]
Centreline = Sequence[tuple[float, float, float, float]]  # points (x, y, z, radius) in mm
LATTICE = 32  # nodes of a noise field along each axis before it repeats
SPLINE_VARIANCE = 151.0 / 315.0  # mean of the squared cubic B-spline weights, per axis


class Noise:
    """Smooth random field of mean 0 and variance 1 that depends on position only.

    A cubic B-spline through white noise on a lattice: nothing smaller than `length` mm.
    """

    def __init__(self, seed: int, length: float) -> None:
        self.nodes = _lattice(seed)
        self.length = length

    def at(self, x: Field, y: Field, z: float) -> Field:
        """Value at each (x, y), in mm, of the plane z."""
        height = z / self.length
        below = int(np.floor(height)) - 1
        planes = self.nodes[np.arange(below, below + 4) % LATTICE]
        plane = np.tensordot(_spline_weights(height - np.floor(height)), planes, axes=1)
        plane = (plane / SPLINE_VARIANCE**1.5).astype(np.float32)
        if x.ndim == 2 and x.strides[0] == 0 and y.strides[1] == 0:  # a straight grid: separable
            down, across = (_spline_matrix(c / self.length) for c in (y[:, 0], x[0]))
            grid: Field = down @ np.ascontiguousarray((across @ plane.T).T)
            return grid
        where = np.stack([y, x]) / np.float32(self.length)
        value: Field = map_coordinates(plane, where, order=3, mode="grid-wrap", prefilter=False)
        return value


@lru_cache(maxsize=32)
def _lattice(seed: int) -> Field:
    rng = np.random.default_rng(seed)
    nodes = rng.standard_normal((LATTICE, LATTICE, LATTICE), dtype=np.float32)
    nodes.flags.writeable = False
    return nodes


def _spline_matrix(where: Field) -> csr_array:
    """Weight of each lattice node (columns) at each place (rows), in units of the lattice."""
    below = np.floor(where)
    nodes = (below[:, None].astype(int) + np.arange(-1, 3)) % LATTICE
    weights = _spline_weights(where - below).T
    starts = np.arange(0, 4 * len(where) + 1, 4)
    return csr_array((weights.ravel(), nodes.ravel(), starts), shape=(len(where), LATTICE))


def _spline_weights(t: float | Field) -> Field:
    """Cubic B-spline weights of the four lattice nodes around a point."""
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return np.array(weights, dtype=np.float32) / np.float32(6.0)


def cover(distance: Field, width: float) -> Field:
    """Share of a pixel that lies inside a shape: 1 inside, 0 outside, a ramp `width` mm wide."""
    return np.clip(np.float32(0.5) - distance / np.float32(width), 0.0, 1.0)


def mix(below: Field, value: Field | float, share: Field) -> Field:
    """Put `value` over `below` where `share` is 1, blend in between."""
    return below + (np.asarray(value, dtype=np.float32) - below) * share


def smooth_min(a: Field, b: Field, radius: float) -> Field:
    """Union of two shapes with a fillet of about `radius` mm."""
    overlap = np.clip(np.float32(radius) - np.abs(a - b), 0.0, None)
    return np.minimum(a, b) - overlap**2 / np.float32(4.0 * radius)


def oval(x: Field, y: Field, a: float, b: float, power: float = 2.0) -> Field:
    """Distance, along rays from the centre, to a superellipse with semi-axes a and b in mm."""
    if power == 2.0:
        scaled = np.hypot(x / np.float32(a), y / np.float32(b))
    else:
        scaled = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** np.float32(1.0 / power)
    scaled = np.maximum(scaled, np.float32(1e-3))
    return (np.hypot(x, y) * (1 - 1 / scaled)).astype(np.float32)


def ellipsoid(x: Field, y: Field, z: float, centre: Point, axes: Point, turn: float = 0.0) -> Field:
    """Distance to an ellipsoid, turned by `turn` radians in the plane; good near its surface."""
    dx, dy = rotate(x - np.float32(centre[0]), y - np.float32(centre[1]), turn)
    height = (z - centre[2]) / axes[2]
    scaled = np.sqrt((dx / np.float32(axes[0])) ** 2 + (dy / np.float32(axes[1])) ** 2 + height**2)
    return (scaled - 1) * np.float32(min(axes[:2]))


def rotate(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """Coordinates in axes turned by `angle` radians."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def tube(x: Field, y: Field, z: float, path: Centreline) -> Field:
    """Distance to a tube along `path`, all in mm."""
    nearest = np.full(x.shape, np.inf, dtype=np.float32)
    for start, end in pairwise(path):
        (ax, ay, az, ar), (bx, by, bz, br) = start, end
        along = (bx - ax, by - ay, bz - az)
        length2 = sum(c * c for c in along)
        t = (x - ax) * along[0] + (y - ay) * along[1] + (z - az) * along[2]
        t = np.clip(t / length2, 0.0, 1.0)
        gap2 = (x - ax - t * along[0]) ** 2 + (y - ay - t * along[1]) ** 2
        gap2 += (z - az - t * along[2]) ** 2
        np.minimum(nearest, np.sqrt(gap2) - (ar + (br - ar) * t), out=nearest)
    return nearest


def vessel_tree(root: Field, targets: Field, radius: float) -> Field:
    """A tree of straight vessels from `root` to every target.

    The targets are halved across their longest direction and the vessel forks towards each
    half's middle, so that the tree fills whatever space the targets fill.

    Args:
        root: Point [3] in mm.
        targets: Points [n,3] in mm.
        radius: Radius at the root in mm; it falls with the number of targets that are fed.

    Returns:
        Segments [m,8]: start x, y, z, radius, end x, y, z, radius.
    """
    segments: list[Field] = []
    waiting = [(np.asarray(root, dtype=np.float32), targets, 0)]
    while waiting:
        start, points, depth = waiting.pop()
        # Murray's law with the usual exponent 3: the flow goes with the cube of the radius.
        thick = max(radius * (len(points) / len(targets)) ** (1 / 3), 0.25)
        middle = points.mean(axis=0)
        end = middle if len(points) == 1 else start + (middle - start) * (0.55 if depth else 0.25)
        segments.append(np.r_[start, thick, end, thick * 0.85])
        if len(points) > 1:
            direction = np.linalg.svd(points - middle, full_matrices=False)[2][0]
            order = np.argsort(points @ direction)
            half = len(order) // 2
            waiting += [(end, points[side], depth + 1) for side in (order[:half], order[half:])]
    return np.array(segments, dtype=np.float32)


@dataclass(frozen=True)
class Blob:
    """An irregular ball: where it is (mm), how big, how rough, how spiky."""

    centre: Point
    diameter: float
    rough: float  # amplitude of the edge's noise, as a share of the radius
    spiky: float  # length of spicules, as a share of the radius
    seed: int

    def distance(self, x: Field, y: Field, z: float) -> Field:
        """Signed distance in mm; a quarter of the diameter is the size of the edge's lobes."""
        dx, dy, dz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        radius = self.diameter / 2
        gap = np.sqrt(dx**2 + dy**2 + dz**2).astype(np.float32)
        lobes = Noise(self.seed, max(self.diameter / 3, 2.0)).at(dx, dy, dz)
        lobes = np.clip(lobes, -1.5, 1.5)
        edge = gap - np.float32(radius) * (1 + np.float32(self.rough) * lobes)
        if self.spiky:
            shrink = np.float32(radius) / np.maximum(gap, 1.0)
            rays = Noise(self.seed + 1, radius / 3).at(dx * shrink, dy * shrink, dz)
            strength = np.clip(lobes + 0.6, 0, 1)  # not every way has spicules
            edge -= np.float32(radius * self.spiky) * strength * np.clip(1 - 4 * np.abs(rays), 0, 1)
        return edge

    @property
    def reach(self) -> float:
        """Distance from the centre, in mm, beyond which the blob has no effect on its own."""
        return self.diameter / 2 * (1 + 1.5 * self.rough + self.spiky) + 1.0
