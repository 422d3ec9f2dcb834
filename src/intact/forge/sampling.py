"""Values of an image between its voxels, and how sharp it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from intact.image import Image

REACH = 12  # voxels around the points that a cubic spline is fitted to; what lies beyond hardly counts
STEEP = 99.0  # percentile of the gradients that are taken for edges


def sample(image: Image, points: Float[ndarray, "n ..."], order: int) -> Float[ndarray, "..."]:
    """Values between an image's voxels, by splines; at whole points and order 0 they are exact.

    Args:
        image: A plane or a volume.
        points: Index along each axis.
        order: Of the spline, 0 to 3.
    """
    # Splines are fitted to what is around the points alone: a whole volume would take seconds.
    low = [max(int(p.min()) - REACH, 0) for p in points]
    high = [min(int(p.max()) + REACH + 2, n) for p, n in zip(points, image.shape, strict=True)]
    part = image.pixels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float64)
    local = points - np.reshape(low, (-1,) + (1,) * (points.ndim - 1))
    if not image.colour:
        return np.asarray(ndimage.map_coordinates(part, local, order=order, mode="nearest"))
    planes = [
        ndimage.map_coordinates(part[..., c], local, order=order, mode="nearest")
        for c in range(part.shape[-1])
    ]
    return np.stack(planes, axis=-1)


def edge_width(values: Float[ndarray, "h w"]) -> float:
    """How blurred the sharpest edges are: the standard deviation in pixels of a Gaussian that would do it.

    An edge between two values a step apart, blurred by s, is step / (s * sqrt(2 pi)) steep.

    Returns:
        0 where there is no edge.
    """
    slope = np.hypot(*(ndimage.sobel(values, axis) / 8.0 for axis in (0, 1)))
    steep = slope >= max(np.percentile(slope, STEEP), 1e-12)
    if not steep.any():
        return 0.0
    step = ndimage.maximum_filter(values, 9) - ndimage.minimum_filter(values, 9)
    return float(np.median(step[steep] / slope[steep])) / float(np.sqrt(2 * np.pi))
